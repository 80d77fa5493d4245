"""The grid of anchor boxes that every prediction is relative to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retina.ranges import Above0, AtLeast1, ShareBelow1, checked


@checked
@dataclass(frozen=True)
class AnchorGenerator:
    """Tile ``len(scales) * len(aspect_ratios)`` anchors over every cell of every level.

    Strides are given, not inferred from tensor sizes: at P6 and P7 the feature map is a rounded-up half, so image
    size // map size is not the stride.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, section 4 (areas 32^2 to 512^2 on P3 to P7, three
    octave scales, three aspect ratios).
    """

    strides: Sequence[AtLeast1] = (8, 16, 32, 64, 128)
    base_scale: Above0 = 4.0  # anchor side at scale 1, in strides
    scales: Sequence[Above0] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    aspect_ratios: Sequence[Above0] = (0.5, 1.0, 2.0)  # height / width
    offset: ShareBelow1 = 0.0  # centre of the first cell, in strides: 0.0, or 0.5 for the middle of the cell

    def __post_init__(self) -> None:
        for name in ("strides", "scales", "aspect_ratios"):
            if not getattr(self, name):
                raise ValueError(f"anchors.{name} must have at least one number")
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists could not be the key of a cache

    @property
    def num_per_cell(self) -> int:
        """Return the number of anchors that share a centre."""
        return len(self.scales) * len(self.aspect_ratios)

    def grid_sizes(self, canvas: tuple[int, int]) -> list[tuple[int, int]]:
        """Return (rows, columns) of each level for an input of ``canvas`` = (height, width) pixels.

        Every stride-2 layer of the network rounds up, so the size of a level is the rounded-up quotient.
        """
        height, width = canvas
        return [(math.ceil(height / stride), math.ceil(width / stride)) for stride in self.strides]

    def shapes(self, stride: int) -> Tensor:
        """Return ``(shapes, 4)`` float32 anchors around (0, 0), scales outer and aspect ratios inner."""
        rows = []
        for scale in self.scales:
            side = self.base_scale * stride * scale
            for ratio in self.aspect_ratios:
                half_width, half_height = side / math.sqrt(ratio) / 2, side * math.sqrt(ratio) / 2
                rows.append([-half_width, -half_height, half_width, half_height])
        return torch.tensor(rows, dtype=torch.float32)

    def __call__(self, grid_sizes: Sequence[tuple[int, int]], device: torch.device | None = None) -> Tensor:
        """Return ``(A, 4)`` float32 anchors, xyxy pixels, ordered by level, then row, column, shape."""
        if len(grid_sizes) != len(self.strides):
            raise ValueError(
                f"got {len(grid_sizes)} feature maps for {len(self.strides)} strides "
                f"{tuple(self.strides)}; the model and anchors.strides disagree"
            )
        levels = []
        for stride, (rows, columns) in zip(self.strides, grid_sizes, strict=True):
            x = (torch.arange(columns, dtype=torch.float32) + self.offset) * stride
            y = (torch.arange(rows, dtype=torch.float32) + self.offset) * stride
            centers = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (rows, columns, 2)
            boxes = centers.repeat(1, 1, 2)[:, :, None, :] + self.shapes(stride)
            levels.append(boxes.reshape(-1, 4))
        return torch.cat(levels).to(device)
