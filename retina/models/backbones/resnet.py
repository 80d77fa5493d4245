"""ResNet and ResNeXt from torchvision, cut before the classifier, with the norm and the weights of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from torch import Tensor, nn
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.ops import FrozenBatchNorm2d

from retina.errors import ConfigError
from retina.models.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, WeightReport, read_weights, take_weights
from retina.models.backbones.blocks import BasicBlock, Bottleneck, convolve_and_normalise
from retina.ranges import FILLED, AtLeast1, Between, checked

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_NORM_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "frozen_bn": FrozenBatchNorm2d,
    "bn": nn.BatchNorm2d,
    "sync_bn": nn.SyncBatchNorm,
    # Source: Wu and He 2018, Group Normalization, section 4.1 (32 groups).
    "gn": partial(nn.GroupNorm, 32),
}


@checked
class ResNet(nn.Module):
    """A ResNet that returns C3, C4 and C5; parameters are named as torchvision names them."""

    strides = (8, 16, 32)
    pixel_mean, pixel_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101, 152] = 50,
        *,
        groups: AtLeast1 = 1,
        width_per_group: AtLeast1 = 64,
        norm: Annotated[Literal["frozen_bn", "bn", "sync_bn", "gn"], FILLED] = "bn",
        frozen_stages: Annotated[int, Between(0, 5)] = 0,
        fold_norm: bool = True,
    ) -> None:
        """Args: ``groups`` > 1 makes a ResNeXt; ``frozen_stages`` counts the stem and then the residual stages: 2
        freezes the stem and the first; ``fold_norm`` applies frozen batch norm to the weights, the same numbers with
        less work."""
        super().__init__()
        block: type[BasicBlock | Bottleneck] = BasicBlock if depth < 50 else Bottleneck
        if depth < 50 and (groups, width_per_group) != (1, 64):
            raise ConfigError("model.backbone.groups and width_per_group need a depth of at least 50")
        resnet = TorchvisionResNet(
            block, list(_BLOCKS[depth]), groups=groups, width_per_group=width_per_group, norm_layer=_NORM_LAYERS[norm]
        )
        self.name, self.norm = _torchvision_name(depth, groups, width_per_group), norm
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (getattr(resnet, stage) for stage in _STAGES)
        self.out_channels = (128 * block.expansion, 256 * block.expansion, 512 * block.expansion)
        self.fold_norm = fold_norm
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                module.fold = fold_norm
        self.freeze(frozen_stages)

    def layer_groups(self) -> list[nn.Module]:
        return [nn.ModuleList([self.conv1, self.bn1]), self.layer1, self.layer2, self.layer3, self.layer4]

    def freeze(self, num_groups: int) -> None:
        self.frozen_stages = num_groups
        for number, group in enumerate(self.layer_groups()):
            group.requires_grad_(number >= num_groups)
        self.train(self.training)

    def train(self, mode: bool = True) -> ResNet:
        super().train(mode)
        # Frozen stages keep their statistics.
        for group in self.layer_groups()[: self.frozen_stages]:
            group.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = self.relu(convolve_and_normalise(pixels, self.conv1, self.bn1, fold=self.fold_norm))
        c3 = self.layer2(self.layer1(self.maxpool(x)))
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]

    def load_weights(self, weights: str) -> WeightReport:
        report = take_weights(self, read_weights(weights, self.name), ("conv1", "bn1", *_STAGES))
        if faults := str(report):
            raise ConfigError(
                f"model.weights={weights} does not fit {self.name} with norm {self.norm}: of its tensors {faults}",
                why="the file holds another network, or model.norm has other parameters than the file.",
                fix="set model.backbone.depth to the file's network, or model.norm to its norm.",
            )
        return report


def _torchvision_name(depth: int, groups: int, width_per_group: int) -> str:
    if groups > 1:
        return f"resnext{depth}_{groups}x{width_per_group}d"
    return f"resnet{depth}" if width_per_group == 64 else f"wide_resnet{depth}_{width_per_group / 64:g}"
