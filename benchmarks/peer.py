"""Torchvision's RetinaNet with our weights and our anchors, so that both do the same work to the same result.

Everything else is its own: backbone, pyramid, heads, matcher, losses, post-processing. Its resizing and normalising
are left out of what is timed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from retina.benchmark.steps import Autocast, Update
from retina.detection.anchors import AnchorGenerator
from retina.models.retinanet import RetinaNet
from retina.structures import BoxTargets, ImageBatch

_HEADS = {"class": ("classification_head", "cls_logits"), "box": ("regression_head", "bbox_reg")}


def build_peer(ours: RetinaNet, anchors: AnchorGenerator, *, depth: int, num_classes: int) -> TorchvisionRetinaNet:
    """Return torchvision's RetinaNet with the weights, the frozen parameters and the mode of ``ours``.

    ``ours`` must be built with frozen batch norm, P6 on C5 and the standard widths. At most 100 detections an image,
    as ours; torchvision's default is 300.
    """
    resnet = get_model(f"resnet{depth}", weights=None, norm_layer=FrozenBatchNorm2d)
    pyramid = LastLevelP6P7(resnet.fc.in_features, 256)
    body = _resnet_fpn_extractor(resnet, 5, returned_layers=[2, 3, 4], extra_blocks=pyramid)
    peer = TorchvisionRetinaNet(body, num_classes, detections_per_img=100)
    peer.anchor_generator, peer.transform = OurAnchors(anchors), NoTransform()
    peer.load_state_dict({torchvisions_name(name): value for name, value in ours.state_dict().items()})
    parameters = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        parameters[torchvisions_name(name)].requires_grad_(parameter.requires_grad)
    return peer.train(ours.training)


def torchvisions_name(name: str) -> str:
    """Return torchvision's name of a parameter or buffer of ours."""
    if match := re.fullmatch(r"backbone\.(.*)", name):
        return f"backbone.body.{match[1]}"
    if match := re.fullmatch(r"fpn\.(lateral|output)\.(\d)\.(.*)", name):
        block = {"lateral": "inner_blocks", "output": "layer_blocks"}[match[1]]
        return f"backbone.fpn.{block}.{match[2]}.0.{match[3]}"
    if match := re.fullmatch(r"fpn\.(p6|p7)\.(.*)", name):
        return f"backbone.fpn.extra_blocks.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"(class|box)_subnet\.tower\.(\d+)\.(.*)", name):
        # Ours has convolution, ReLU, convolution, ...; theirs a pair of both a layer.
        return f"head.{_HEADS[match[1]][0]}.conv.{int(match[2]) // 2}.0.{match[3]}"
    if match := re.fullmatch(r"(class|box)_subnet\.predict\.(.*)", name):
        return f"head.{'.'.join(_HEADS[match[1]])}.{match[2]}"
    raise ValueError(f"torchvision's RetinaNet has nothing like {name}")


class OurAnchors(nn.Module):
    """Our anchors under torchvision's interface; its own are rounded to whole pixels."""

    def __init__(self, generator: AnchorGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: ImageList, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        sizes = [(feature.shape[-2], feature.shape[-1]) for feature in feature_maps]
        return [self.generator(sizes, images.tensors.device)] * len(images.image_sizes)


class NoTransform(nn.Module):
    """Hand over a batch that is resized, normalised and padded already, and detections as they are."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(images, [(images.shape[-2], images.shape[-1])] * len(images)), targets

    def postprocess(self, detections: Any, image_sizes: Any, original_image_sizes: Any) -> Any:
        """Return ``detections``: they are in pixels of the batch, which has no padding."""
        return detections


@dataclass(frozen=True)
class PeerTrainStep(Update):
    """Forward with matching and losses, backward, update, as torchvision's reference training does it.

    Both losses are means over images of a sum over the image's positives.
    """

    model: TorchvisionRetinaNet
    optimizer: torch.optim.Optimizer
    images: Tensor  # (B, 3, H, W) float32, normalised
    targets: Sequence[dict[str, Tensor]]
    autocast: Autocast = nullcontext

    def loss(self) -> Tensor:
        with self.autocast():
            losses = self.model(self.images, list(self.targets))
        return torch.stack(list(losses.values())).sum()


@dataclass(frozen=True)
class PeerDetection:
    """Forward and post-processing; returns torchvision's dictionaries."""

    model: TorchvisionRetinaNet
    images: Tensor  # (B, 3, H, W) float32, normalised
    autocast: Autocast = nullcontext

    @torch.inference_mode()
    def __call__(self) -> list[dict[str, Tensor]]:
        with self.autocast():
            return self.model(self.images)


def peer_images(ours: RetinaNet, images: ImageBatch, memory_format: torch.memory_format) -> Tensor:
    """Return the batch as torchvision's network takes it; ours normalises inside its step, theirs is spared that."""
    return ours.normalize(images).to(memory_format=memory_format).clone(memory_format=memory_format)


def peer_targets(objects: Sequence[BoxTargets]) -> list[dict[str, Tensor]]:
    """Return the objects as torchvision takes them."""
    return [{"boxes": targets.boxes, "labels": targets.labels} for targets in objects]
