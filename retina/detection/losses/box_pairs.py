"""What every box loss sees: predicted boxes beside their objects, each measure made once and only where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from retina.boxes import decode_boxes, encode_boxes

# Areas and squared lengths up to this (a side of 0.0003 px) count as nothing: a quotient by them says nothing about
# the boxes, and its gradient would outweigh the whole batch.
NEGLIGIBLE = 1e-7
# An object without width or height has the code log(0) = -inf. This is the code of an object 1e-7 of its anchor,
# below any real one, so that a single bad box cannot make a step infinite.
MIN_LOG_SCALE = -16.0


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
    """The predicted boxes of the P positive anchors beside their objects, row by row, as codes and as boxes.

    All measures are in the type of the anchors. Measures of boxes are finite, and so are their gradients, for boxes up
    to 1e18 px, also where a box has no width or height or is inside out. To hold a measure constant use ``.detach()``:
    what is first read under ``torch.no_grad()`` stays without a gradient for all later readers.
    """

    deltas: Tensor  # (P, 4) predicted codes, of any float type
    anchors: Tensor  # (P, 4) xyxy pixels
    objects: Tensor  # (P, 4) xyxy pixels

    def __post_init__(self) -> None:
        shapes = [tuple(rows.shape) for rows in (self.deltas, self.anchors, self.objects)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][1] != 4:
            raise ValueError(f"deltas, anchors and objects must all have shape (P, 4), got {shapes}")

    @classmethod
    def of_boxes(cls, predicted: Tensor, objects: Tensor) -> BoxPairs:
        """Return ``(P, 4)`` boxes beside others, for their measures alone: without anchors there are no codes."""
        pairs = cls(torch.full_like(predicted, torch.nan), objects, objects)
        vars(pairs)["boxes"] = (predicted, objects)
        return pairs

    @cached_property
    def codes(self) -> tuple[Tensor, Tensor]:
        """``(P, 4)`` predicted and true codes."""
        true = encode_boxes(self.objects, self.anchors).clamp(min=MIN_LOG_SCALE)
        return self.deltas.to(true.dtype), true

    @cached_property
    def code_errors(self) -> Tensor:
        """``(P, 4)`` predicted codes minus true ones."""
        predicted, true = self.codes
        return predicted - true

    @cached_property
    def boxes(self) -> tuple[Tensor, Tensor]:
        """``(P, 4)`` predicted and true boxes, xyxy pixels."""
        return decode_boxes(self.deltas, self.anchors), self.objects

    @cached_property
    def predicted_sizes(self) -> Tensor:
        """``(P, 2)`` widths and heights, negative where a box is inside out."""
        return self.boxes[0][:, 2:] - self.boxes[0][:, :2]

    @cached_property
    def true_sizes(self) -> Tensor:
        """``(P, 2)`` widths and heights."""
        return self.boxes[1][:, 2:] - self.boxes[1][:, :2]

    @cached_property
    def intersection(self) -> Tensor:
        """``(P,)`` areas in both boxes."""
        predicted, true = self.boxes
        top_left = torch.maximum(predicted[:, :2], true[:, :2])
        return _area(torch.minimum(predicted[:, 2:], true[:, 2:]) - top_left)

    @cached_property
    def union(self) -> Tensor:
        """``(P,)`` areas in at least one of the boxes."""
        return _area(self.predicted_sizes) + _area(self.true_sizes) - self.intersection

    @cached_property
    def iou(self) -> Tensor:
        """``(P,)`` intersection over union; 0 where both boxes are empty."""
        return divide_or_zero(self.intersection, self.union)

    @cached_property
    def enclosing_sizes(self) -> Tensor:
        """``(P, 2)`` width and height of the smallest box that holds both."""
        predicted, true = self.boxes
        top_left = torch.minimum(predicted[:, :2], true[:, :2])
        return torch.maximum(predicted[:, 2:], true[:, 2:]) - top_left

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
        """``(P, 2)`` ways along x and y from the object's centre to the prediction's."""
        predicted, true = self.boxes
        return predicted[:, :2] + 0.5 * self.predicted_sizes - (true[:, :2] + 0.5 * self.true_sizes)

    @cached_property
    def center_distance_squared(self) -> Tensor:
        """``(P,)`` squared distance between the centres."""
        return self.center_offsets.square().sum(dim=1)


def _area(sizes: Tensor) -> Tensor:
    """Return ``(P,)`` areas; 0 where a side is negative."""
    sides = positive_part(sizes)
    return sides[:, 0] * sides[:, 1]
