"""RetinaNet: backbone, feature pyramid, class subnet and box subnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from retina.models.backbones import ResNet, resolve_norm
from retina.models.fpn import FeaturePyramid
from retina.models.heads import Subnet, box_subnet, class_subnet
from retina.structures import BoxCells, ImageBatch, Predictions

# Mean and standard deviation of ImageNet's RGB pixels in 0..255, what torchvision's weights were trained on.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class RetinaNet(nn.Module):
    """One-stage detector with a feature pyramid.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, section 4 and figure 3.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: ResNet,
        fpn: FeaturePyramid,
        class_subnet: Subnet,
        box_subnet: Subnet,
        *,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        """Args: the built parts; ``pixel_mean`` and ``pixel_std`` of RGB pixels in 0..255."""
        super().__init__()
        self.backbone, self.fpn = backbone, fpn
        self.class_subnet, self.box_subnet = class_subnet, box_subnet
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def forward(self, images: ImageBatch, box_cells: BoxCells | None = None) -> Predictions:
        """Return logits of every anchor, and deltas of every anchor or of those that ``box_cells`` names."""
        levels = self.fpn(self.backbone(self.normalize(images)))
        logits = self.class_subnet(levels)
        deltas = self.box_subnet(levels)
        if box_cells is not None:
            deltas = deltas.flatten(0, 1).index_select(0, box_cells.anchor_index)
        return Predictions(logits, deltas, [(level.shape[-2], level.shape[-1]) for level in levels])

    def normalize(self, images: ImageBatch) -> Tensor:
        """Return ``(B, 3, H, W)`` float32 pixels of mean 0 and deviation 1, exactly 0 in the padding."""
        height, width = images.pixels.shape[-2:]
        device = images.pixels.device
        content_height, content_width = images.sizes[:, :1], images.sizes[:, 1:]  # (B, 1)
        rows = torch.arange(height, device=device) < content_height  # (B, H)
        columns = torch.arange(width, device=device) < content_width  # (B, W)
        inside = (rows[:, :, None] & columns[:, None, :])[:, None]  # (B, 1, H, W)
        return ((images.pixels - self.pixel_mean) / self.pixel_std) * inside


def build_retinanet(
    *,
    num_classes: int,
    num_anchors: int,
    backbone: Mapping[str, int],
    weights: str | None = "imagenet",
    load_weights: bool = True,
    norm: str = "auto",
    fpn_channels: int = 256,
    p6_from: Literal["c5", "p5"] = "c5",
    tower_channels: int = 256,
    tower_depth: int = 4,
    prior: float = 0.01,
    box_tower: Literal["dense"] = "dense",
    pixel_mean: Sequence[float] = IMAGENET_MEAN,
    pixel_std: Sequence[float] = IMAGENET_STD,
) -> RetinaNet:
    """Wire a RetinaNet for ``num_classes`` classes and ``num_anchors`` anchors a cell.

    Args:
        backbone: ``depth``, ``groups``, ``width_per_group`` and ``frozen_stages`` of the ResNet; nothing is frozen
            without ``weights``, since random weights would stay random.
        weights: ``imagenet``, a file of a state dict, or None for random initialisation.
        load_weights: False where a checkpoint will bring all weights: nothing is fetched or read then.
        norm: see :func:`retina.models.backbones.resolve_norm`.
    """
    frozen = {} if weights else {"frozen_stages": 0}
    body = ResNet(**{**backbone, **frozen}, norm=resolve_norm(norm, weights))
    if weights and load_weights:
        body.load_weights(weights)
    anchors = {"num_anchors": num_anchors, "channels": tower_channels, "depth": tower_depth}
    return RetinaNet(
        backbone=body,
        fpn=FeaturePyramid(body.out_channels, fpn_channels, p6_from),
        class_subnet=class_subnet(fpn_channels, num_classes=num_classes, prior=prior, **anchors),
        box_subnet=box_subnet(fpn_channels, **anchors),
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
    )
