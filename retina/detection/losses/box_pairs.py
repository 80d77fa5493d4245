"""What the overlap losses are made of: predicted boxes beside their targets, measured once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Areas and squared lengths up to this (a side of 0.0003 px) count as nothing: a quotient by them says nothing about
# the boxes, and its gradient would outweigh the whole batch.
NEGLIGIBLE = 1e-7


def divide_or_zero(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return ``numerator / denominator``; 0, without a gradient, where the denominator is negligible or negative.

    What is not a number stays so: a network that has diverged must not look like one that misses its targets.
    """
    usable = ~(denominator <= NEGLIGIBLE)
    # The inner `where` keeps 0 / 0 out of the backward pass too: there the outer one only makes NaN of 0 * inf.
    quotient = numerator / torch.where(usable, denominator, torch.ones_like(denominator))
    return torch.where(usable, quotient, torch.zeros_like(quotient))


def positive_part(lengths: Tensor) -> Tensor:
    """Return ``lengths``, 0 where they are negative; at 0 itself with slope 1. NaN stays NaN.

    So a box without width still learns to grow. ``clamp`` has slope 0 or 1 there, by the version of torch.
    """
    return torch.where(lengths < 0, torch.zeros_like(lengths), lengths)


@dataclass(frozen=True)
class BoxPairs:
    """P predicted boxes and their targets, row by row; each measure is computed at most once.

    Every measure is finite, and so is its gradient, for boxes up to 1e18 px, also where a box has no width or height
    or is inside out. To hold a measure constant use ``.detach()``: what is first read under ``torch.no_grad()`` stays
    without a gradient for all later readers.
    """

    predicted: Tensor  # (P, 4) xyxy pixels
    target: Tensor  # (P, 4) xyxy pixels

    @cached_property
    def predicted_sizes(self) -> Tensor:
        """``(P, 2)`` widths and heights, negative where a box is inside out."""
        return self.predicted[:, 2:] - self.predicted[:, :2]

    @cached_property
    def target_sizes(self) -> Tensor:
        """``(P, 2)`` widths and heights."""
        return self.target[:, 2:] - self.target[:, :2]

    @cached_property
    def intersection(self) -> Tensor:
        """``(P,)`` areas in both boxes."""
        top_left = torch.maximum(self.predicted[:, :2], self.target[:, :2])
        bottom_right = torch.minimum(self.predicted[:, 2:], self.target[:, 2:])
        return _area(bottom_right - top_left)

    @cached_property
    def union(self) -> Tensor:
        """``(P,)`` areas in at least one of the boxes."""
        return _area(self.predicted_sizes) + _area(self.target_sizes) - self.intersection

    @cached_property
    def iou(self) -> Tensor:
        """``(P,)`` intersection over union; 0 where both boxes are empty."""
        return divide_or_zero(self.intersection, self.union)

    @cached_property
    def enclosing_sizes(self) -> Tensor:
        """``(P, 2)`` width and height of the smallest box that holds both."""
        top_left = torch.minimum(self.predicted[:, :2], self.target[:, :2])
        bottom_right = torch.maximum(self.predicted[:, 2:], self.target[:, 2:])
        return bottom_right - top_left

    @cached_property
    def enclosing_area(self) -> Tensor:
        """``(P,)`` area of the smallest box that holds both."""
        return _area(self.enclosing_sizes)

    @cached_property
    def enclosing_diagonal_squared(self) -> Tensor:
        """``(P,)`` squared diagonal of the smallest box that holds both."""
        return self.enclosing_sizes.square().sum(dim=1)

    @cached_property
    def center_offsets(self) -> Tensor:
        """``(P, 2)`` ways along x and y from the target's centre to the prediction's."""
        predicted_centers = self.predicted[:, :2] + 0.5 * self.predicted_sizes
        target_centers = self.target[:, :2] + 0.5 * self.target_sizes
        return predicted_centers - target_centers

    @cached_property
    def center_distance_squared(self) -> Tensor:
        """``(P,)`` squared distance between the centres."""
        return self.center_offsets.square().sum(dim=1)


def _area(sizes: Tensor) -> Tensor:
    """Return ``(P,)`` areas; 0 where a side is negative."""
    sides = positive_part(sizes)
    return sides[:, 0] * sides[:, 1]
