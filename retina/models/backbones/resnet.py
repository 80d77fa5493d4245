"""ResNet and ResNeXt from torchvision, cut before the classifier, with the norm and the weights of one's choice."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.ops import FrozenBatchNorm2d

from retina.errors import ConfigError
from retina.models.backbones.blocks import BasicBlock, Bottleneck, convolve_and_normalise
from retina.ranges import FILLED

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_STAGES = ("layer1", "layer2", "layer3", "layer4")
NORMS = ("auto", "frozen_bn", "bn", "sync_bn", "gn")

# What torch.load raises on files that were cut off, changed in some bytes or are something else altogether.
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)


class Backbone(nn.Module):
    """Marks a backbone."""


class ResNet(Backbone):
    """A ResNet that returns C3, C4 and C5 (strides 8, 16, 32); parameters are named as torchvision names them."""

    def __init__(
        self,
        depth: int = 50,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        norm: Annotated[str, FILLED] = "bn",
        frozen_stages: int = 0,
        fold_norm: bool = True,
    ) -> None:
        """Args: ``depth`` one of 18, 34, 50, 101, 152; ``groups`` > 1 makes a ResNeXt; ``norm`` one of ``NORMS`` but
        ``auto``; ``frozen_stages`` counts the stem and then the residual stages: 2 freezes the stem and the first;
        ``fold_norm`` applies frozen batch norm to the weights, the same numbers with less work."""
        super().__init__()
        if depth not in _BLOCKS:
            raise ConfigError(f"model.backbone.depth must be one of {', '.join(map(str, _BLOCKS))}, got {depth}")
        if not 0 <= frozen_stages <= 5:
            raise ConfigError(f"model.backbone.frozen_stages must lie in 0..5, got {frozen_stages}")
        block: type[BasicBlock | Bottleneck] = BasicBlock if depth < 50 else Bottleneck
        if depth < 50 and (groups, width_per_group) != (1, 64):
            raise ConfigError("model.backbone.groups and width_per_group need a depth of at least 50")
        resnet = TorchvisionResNet(
            block, list(_BLOCKS[depth]), groups=groups, width_per_group=width_per_group, norm_layer=_norm_layer(norm)
        )
        self.name, self.norm = _torchvision_name(depth, groups, width_per_group), norm
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (getattr(resnet, stage) for stage in _STAGES)
        self.out_channels = tuple(stage * block.expansion for stage in (128, 256, 512))
        self._frozen = [self.conv1, self.bn1, *(getattr(self, stage) for stage in _STAGES)][: frozen_stages + 1]
        for module in self._frozen if frozen_stages else []:
            module.requires_grad_(False)
        self.frozen_stages, self.fold_norm = frozen_stages, fold_norm
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                module.fold = fold_norm

    def train(self, mode: bool = True) -> ResNet:
        """Set the mode; frozen stages keep their statistics, so they stay in evaluation mode."""
        super().train(mode)
        if self.frozen_stages:
            for module in self._frozen:
                module.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return [C3, C4, C5] for ``(B, 3, H, W)`` normalised pixels."""
        x = convolve_and_normalise(pixels, self.conv1, self.bn1, fold=self.fold_norm)
        x = self.maxpool(self.relu(x))
        c3 = self.layer2(self.layer1(x))
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]

    def load_weights(self, weights: str) -> None:
        """Load ``imagenet`` (torchvision's, fetched once and kept) or a file of a state dict.

        Raises:
            ConfigError: the download failed, or the file is missing, damaged or of another network.
        """
        state = _imagenet_weights(self.name) if weights == "imagenet" else _file_weights(weights)
        state = {name.removeprefix("backbone.").removeprefix("body."): value for name, value in state.items()}
        wanted = self.state_dict()
        self._check_fit(weights, state, wanted)
        self.load_state_dict({name: state.get(name, value) for name, value in wanted.items()})

    def _check_fit(self, weights: str, state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
        # A file of depth 101 holds every tensor of depth 50, one of batch norm every tensor of group norm: what is left
        # over tells them apart. The classifier and what is no backbone may be there.
        ours = tuple(f"{name}." for name in ("conv1", "bn1", *_STAGES))
        counters = "num_batches_tracked"  # batch norm's, not frozen batch norm's
        mistakes = {
            "missing": [name for name in wanted if name not in state and not name.endswith(counters)],
            "too many": [
                name for name in state if name.startswith(ours) and name not in wanted and not name.endswith(counters)
            ],
            "of another shape": [name for name in wanted if name in state and state[name].shape != wanted[name].shape],
        }
        if any(mistakes.values()):
            told = ", ".join(f"{len(names)} {kind} (e.g. {names[0]})" for kind, names in mistakes.items() if names)
            raise ConfigError(
                f"model.weights={weights} does not fit {self.name} with norm {self.norm}: of its tensors {told}",
                why="the file holds another network, or model.norm has other parameters than the file.",
                fix="set model.backbone.depth to the file's network, or model.norm to its norm.",
            )


def resolve_norm(norm: str, weights: str | None) -> str:
    """Return the norm that ``auto`` means: frozen batch norm with pretrained weights, else batch norm."""
    if norm not in NORMS:
        raise ConfigError(f"model.norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if norm != "auto":
        return norm
    return "frozen_bn" if weights else "bn"


def _norm_layer(norm: str) -> Callable[..., nn.Module]:
    layers: dict[str, Callable[..., nn.Module]] = {
        "frozen_bn": FrozenBatchNorm2d,
        "bn": nn.BatchNorm2d,
        "sync_bn": nn.SyncBatchNorm,
        # Source: Wu and He 2018, Group Normalization, section 4.1 (32 groups).
        "gn": partial(nn.GroupNorm, 32),
    }
    if norm not in layers:
        raise ConfigError(f"the norm of a backbone must be one of {', '.join(layers)}, got {norm!r}")
    return layers[norm]


def _torchvision_name(depth: int, groups: int, width_per_group: int) -> str:
    if groups > 1:
        return f"resnext{depth}_{groups}x{width_per_group}d"
    return f"resnet{depth}" if width_per_group == 64 else f"wide_resnet{depth}_{width_per_group / 64:g}"


def _imagenet_weights(name: str) -> dict[str, Tensor]:
    alternatives = "model.weights=null (train from scratch) or model.weights=<file of a state dict>"
    try:
        weights = get_model_weights(name).IMAGENET1K_V1
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"there are no ImageNet weights for {name}", fix=alternatives) from error
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except _UNREADABLE as error:
        raise ConfigError(
            f"the ImageNet weights of {name} could not be fetched: {weights.url}",
            why=f"{_first_line(error)}; they are looked for in {folder} first.",
            fix=f"pass {alternatives}, or put a whole {Path(weights.url).name} into that folder.",
        ) from error


def _file_weights(path: str) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(
            f"model.weights: no such file: {path}", fix="pass model.weights=null, imagenet or an existing file"
        ) from error
    except _UNREADABLE as error:
        raise ConfigError(
            f"model.weights: cannot be read: {path}",
            why=f"{_first_line(error)}; only tensors are read, nothing in the file is run.",
            fix="pass a file written by torch.save(model.state_dict(), file)",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(
            f"model.weights: holds no state dict: {path}",
            fix="pass a file written by torch.save(model.state_dict(), file)",
        )
    return content


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
