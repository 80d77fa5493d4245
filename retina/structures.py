"""The values that travel through the program, and the one legend of axis letters.

Axes: B images of a batch, H x W pixels, N objects of one image, C crowd regions of one image, A anchors of one
image (all levels), K classes, P positive anchors of a whole batch, D detections of one image, L pyramid levels.

Coordinates: boxes are ``xyxy`` float32 in pixels of the network's input (after resize and augmentation). Only
post-processing and evaluation know the original image's frame, only evaluation knows COCO's ``xywh`` and category
ids. Labels are 0..K-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T", bound="_Tensors")


class _Tensors:
    """Moving every tensor of a dataclass at once, also through nested dataclasses."""

    __slots__ = ()

    def _map(self: T, function: Any) -> T:
        changed = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = function(value)
            elif isinstance(value, _Tensors):
                changed[field.name] = value._map(function)
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self: T, device: torch.device, *, non_blocking: bool = False) -> T:
        """Return the same value with its tensors on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        """Return the same value in page-locked memory (called by the loader's pinning thread)."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True, slots=True)
class BoxTargets(_Tensors):
    """Ground truth of one image, in the coordinates of that image."""

    boxes: Tensor  # (N, 4) float32, xyxy pixels
    labels: Tensor  # (N,) int64 in [0, K)
    crowd_boxes: Tensor  # (C, 4) float32, xyxy pixels: regions where nothing may count as background

    def __post_init__(self) -> None:
        for name in ("boxes", "crowd_boxes"):
            value = getattr(self, name)
            if value.ndim != 2 or value.shape[-1] != 4:
                raise ValueError(f"{name} must have shape (N, 4), got {tuple(value.shape)}")
        if self.labels.shape != self.boxes.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(self.boxes)},) to match boxes, got {tuple(self.labels.shape)}"
            )

    @classmethod
    def empty(cls) -> BoxTargets:
        """Return the ground truth of an image without objects."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its ground truth, before or after augmentation."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    targets: BoxTargets  # in pixels of `image`
    image_id: int  # as in the annotation file
    original_size: tuple[int, int]  # (height, width) of the stored image
    replaced: tuple[str, ...] = ()  # what was wrong with each image that another one had to stand in for


@dataclass(frozen=True, slots=True)
class ImageBatch(_Tensors):
    """Images padded at the right and at the bottom to one canvas."""

    pixels: Tensor  # (B, 3, H, W) uint8, RGB; channels-last in memory
    sizes: Tensor  # (B, 2) int64 (height, width) of the content; beyond lies padding

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class BoxCells(_Tensors):
    """Where box deltas are wanted; anchors are counted through the batch, image after image (`b * A + a`).

    It stays on the host: which cells a lazy box tower computes is decided there, so that no step waits for the device.
    """

    anchor_index: Tensor  # (P,) int64 in [0, B * A), ascending, each once


@dataclass(frozen=True, slots=True)
class BackgroundHeat(_Tensors):
    """Absent classes of anchors near the centre of an object of that class; those not listed have the heat 0."""

    anchor_index: Tensor  # (M,) int64 in [0, B * A), neither positive for this label nor ignored; each pair once
    labels: Tensor  # (M,) int64 in [0, K)
    heat: Tensor  # (M,) float32 in (0, 1], near 1 beside the centre of an object

    @classmethod
    def empty(cls) -> BackgroundHeat:
        """Return no heat at all."""
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0))


@dataclass(frozen=True, slots=True)
class AnchorTargets(_Tensors):
    """What each anchor of a batch should predict, sparse: whatever is not listed is background."""

    positive_index: Tensor  # (P,) int64 in [0, B * A), ascending
    positive_labels: Tensor  # (P,) int64 in [0, K)
    positive_boxes: Tensor  # (P, 4) float32: the matched object of each positive anchor
    positive_anchors: Tensor  # (P, 4) float32: the positive anchors themselves
    ignored_index: Tensor  # (I,) int64 in [0, B * A), ascending: anchors without a loss
    heat: BackgroundHeat | None = None  # made only where the loss asks for it

    @property
    def num_positives(self) -> int:
        """Return P. A size, so reading it never waits for the device."""
        return len(self.positive_index)

    @property
    def box_cells(self) -> BoxCells:
        """Return where the box loss needs predictions: at the positive anchors. To be asked on the host."""
        return BoxCells(self.positive_index)


@dataclass(frozen=True, slots=True)
class Batch(_Tensors):
    """What the loader hands to the trainer and to the evaluator."""

    images: ImageBatch
    targets: AnchorTargets
    image_ids: Sequence[int]  # (B,) as in the annotation file
    original_sizes: Sequence[tuple[int, int]]  # (B,) (height, width) of the stored images
    box_targets: Sequence[BoxTargets]  # (B,) for pictures and diagnostics; stays on the host
    replaced: Sequence[str] = ()  # what was wrong with each image that another one had to stand in for

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Predictions(_Tensors):
    """Raw outputs of the network, anchors ordered by level, then row, column, anchor shape."""

    logits: Tensor  # (B, A, K)
    deltas: Tensor  # (B, A, 4), or (P, 4) where the model was asked for `box_cells` only
    grid_sizes: Sequence[tuple[int, int]]  # (L,) rows and columns of each level
    anchor_index: Tensor | None = None  # (P,) int64 ascending: `b * A + a` of each row of (P, 4) deltas; None: all

    def __post_init__(self) -> None:
        if self.anchor_index is not None and len(self.deltas) != len(self.anchor_index):
            raise ValueError(f"got deltas of {len(self.deltas)} anchors for {len(self.anchor_index)} wanted anchors")
        if self.anchor_index is None and self.deltas.shape[:2] != self.logits.shape[:2]:
            raise ValueError(
                "logits and deltas must agree in images and anchors, "
                f"got {tuple(self.logits.shape)} and {tuple(self.deltas.shape)}"
            )

    def deltas_of(self, anchor_index: Tensor) -> Tensor:
        """Return ``(Q, 4)`` deltas of the anchors ``b * A + a``; all of them must be among those computed."""
        if self.anchor_index is None:
            return self.deltas.flatten(0, 1).index_select(0, anchor_index)
        if not len(anchor_index):
            return self.deltas[:0]
        # One that was not computed would silently get another's row, so callers ask for what they gave to the model.
        return self.deltas.index_select(0, torch.searchsorted(self.anchor_index, anchor_index))


@dataclass(frozen=True, slots=True)
class Detections(_Tensors):
    """Detected objects of one image, best first."""

    boxes: Tensor  # (D, 4) float32, xyxy pixels
    scores: Tensor  # (D,) float32 in (0, 1]
    labels: Tensor  # (D,) int64 in [0, K)

    def __len__(self) -> int:
        return len(self.scores)
