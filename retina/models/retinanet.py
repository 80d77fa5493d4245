"""RetinaNet: backbone, feature pyramid, class subnet and box subnet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from retina.errors import ConfigError
from retina.models.backbones.backbone import Backbone
from retina.models.fpn import FeaturePyramid
from retina.models.heads import Subnet, start_as_background
from retina.models.lazy_tower.subnet import can_be_lazy, lazy_outputs
from retina.ranges import FILLED, Above0, AtLeast1, Count, OpenShare, checked
from retina.structures import BoxCells, ImageBatch, Predictions

# Decides from the logits (B, A, K) and the grid sizes where boxes are wanted.
ChooseBoxCells = Callable[[Tensor, Sequence[tuple[int, int]]], BoxCells]


class RetinaNet(nn.Module):
    """One-stage detector with a feature pyramid.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, section 4 and figure 3.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        fpn: FeaturePyramid,
        class_subnet: Subnet,
        box_subnet: Subnet,
        *,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        box_tower: Literal["lazy", "dense"] = "lazy",
    ) -> None:
        """Args: ``pixel_mean`` and ``pixel_std`` of RGB pixels in 0..255, the backbone's where None; ``box_tower``
        says whether boxes are computed only where they are asked for: the same numbers."""
        super().__init__()
        self.box_tower = box_tower
        self.backbone, self.fpn = backbone, fpn
        self.class_subnet, self.box_subnet = class_subnet, box_subnet
        mean, std = pixel_mean or backbone.pixel_mean, pixel_std or backbone.pixel_std
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def strides(self) -> tuple[int, ...]:
        """``(L,)`` pixels of the input between two cells of a level."""
        return (*self.backbone.strides, 2 * self.backbone.strides[-1], 4 * self.backbone.strides[-1])

    def forward(self, images: ImageBatch, box_cells: BoxCells | ChooseBoxCells | None = None) -> Predictions:
        """Return logits of every anchor, and deltas of every anchor or of those that ``box_cells`` names.

        In training these are the positive anchors, which are known beforehand. In detection they are the anchors with
        a score worth a box, so ``box_cells`` may be a function that is called once the logits are there.
        """
        pixels = self.normalize(images)
        if not self.fpn.p7.weight.is_contiguous(memory_format=torch.channels_last):
            pixels = pixels.contiguous()  # else every layer would follow the images' layout, whatever the weights'
        levels = self.fpn(self.backbone(pixels))
        grid_sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        logits = self.class_subnet(levels)
        if box_cells is None:
            return Predictions(logits, self.box_subnet(levels), grid_sizes)
        wanted = (box_cells(logits, grid_sizes) if callable(box_cells) else box_cells).anchor_index
        on_device = wanted.to(logits.device, non_blocking=True)
        if self.box_tower == "lazy" and can_be_lazy(self.box_subnet):
            deltas = lazy_outputs(self.box_subnet, levels, wanted)
        else:
            deltas = self.box_subnet(levels).flatten(0, 1).index_select(0, on_device)
        return Predictions(logits, deltas, grid_sizes, on_device)

    def normalize(self, images: ImageBatch) -> Tensor:
        """Return ``(B, 3, H, W)`` float32 pixels of mean 0 and deviation 1, exactly 0 in the padding."""
        num_images, channels, height, width = images.pixels.shape
        device = images.pixels.device
        # The channels of a line of pixels as one row: a long innermost axis, where 3 would leave the processor idle.
        lines = images.pixels.permute(0, 2, 3, 1).reshape(num_images, height, width * channels)
        mean, std = (value.flatten().repeat(width) for value in (self.pixel_mean, self.pixel_std))
        rows = torch.arange(height, device=device) < images.sizes[:, :1]  # (B, H)
        columns = torch.arange(width, device=device) < images.sizes[:, 1:]  # (B, W)
        rows, columns = rows.to(mean.dtype), columns.to(mean.dtype).repeat_interleave(channels, dim=1)
        normalised = torch.empty(lines.shape, dtype=mean.dtype, device=device)
        # Image after image, so that one stays in the cache through the four operations.
        for line, out, row, column in zip(lines, normalised, rows, columns, strict=True):
            torch.sub(line, mean, out=out).div_(std).mul_(column).mul_(row[:, None])
        return normalised.view(num_images, height, width, channels).permute(0, 3, 1, 2)


@checked
def build_retinanet(
    *,
    num_classes: Annotated[int, FILLED],
    num_anchors: Annotated[int, FILLED],
    backbone: Backbone,
    weights: str | None = "imagenet",
    load_weights: Annotated[bool, FILLED] = True,
    norm: Literal["auto", "frozen_bn", "bn", "sync_bn", "gn"] = "auto",
    fpn_channels: AtLeast1 = 256,
    p6_from: Literal["c5", "p5"] = "c5",
    tower_channels: AtLeast1 = 256,
    tower_depth: Count = 4,
    prior: OpenShare = 0.01,
    scores: Literal["sigmoid", "softmax"] = "sigmoid",
    box_tower: Literal["lazy", "dense"] = "lazy",
    pixel_mean: tuple[float, float, float] | None = None,
    pixel_std: tuple[Above0, Above0, Above0] | None = None,
) -> RetinaNet:
    """Wire a RetinaNet for ``num_classes`` classes and ``num_anchors`` anchors a cell.

    Args:
        backbone: trained whole without ``weights``, whatever it would freeze: random weights would stay random.
        weights: ``imagenet``, a file of a state dict, or None for random initialisation.
        load_weights: False where a checkpoint will bring all weights: nothing is fetched or read then.
        norm: that the backbone has been built with (:func:`retina.settings.resolve_norm`).
        scores: what makes scores of the class logits; ``softmax`` has one more output an anchor, the background's. The
            classification loss decides it.
        pixel_mean: of RGB pixels in 0..255, as ``pixel_std``; None: what the backbone's weights were trained on.
    """
    if norm not in ("auto", getattr(backbone, "norm", None)):
        raise ConfigError(f"model.norm={norm}, but the backbone was built with norm {getattr(backbone, 'norm', None)}")
    if not weights:
        backbone.freeze(0)
    elif load_weights:
        backbone.load_weights(weights)
    softmax = scores == "softmax"
    tower = {"num_anchors": num_anchors, "channels": tower_channels, "depth": tower_depth}
    return RetinaNet(
        backbone=backbone,
        fpn=FeaturePyramid(backbone.out_channels, fpn_channels, p6_from),
        class_subnet=start_as_background(
            Subnet(fpn_channels, num_outputs=num_classes + softmax, **tower), prior, softmax=softmax
        ),
        box_subnet=Subnet(fpn_channels, num_outputs=4, **tower),
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
        box_tower=box_tower,
    )
