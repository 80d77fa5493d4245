"""A batch seen level by level: which anchors are of which level of the pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from retina.structures import AnchorTargets, BackgroundHeat, Predictions

Size = tuple[int, int]  # rows and columns


def level_names(strides: Sequence[int]) -> list[str]:
    """Return ``P3`` for stride 8, ``P4`` for 16, ...; for a stride that is no power of 2, ``/stride``."""
    return [f"P{int(math.log2(s))}" if math.log2(s).is_integer() else f"/{s}" for s in strides]


def level_bounds(grid_sizes: Sequence[Size], num_anchors: int) -> list[tuple[int, int]]:
    """Return the first anchor of each level and the one after its last, of ``num_anchors`` of an image."""
    cells = [rows * columns for rows, columns in grid_sizes]
    return list(pairwise(accumulate((count * num_anchors // sum(cells) for count in cells), initial=0)))


def level_of(anchor_index: Tensor, grid_sizes: Sequence[Size], num_anchors: int) -> Tensor:
    """Return ``(P,)`` int64 positions of the levels of anchors that are counted through a batch."""
    ends = torch.tensor([end for _, end in level_bounds(grid_sizes, num_anchors)], device=anchor_index.device)
    return torch.searchsorted(ends, anchor_index % num_anchors, right=True)


def one_level(predictions: Predictions, targets: AnchorTargets, level: int) -> tuple[Predictions, AnchorTargets]:
    """Return predictions and targets as if the network had this level only, anchors counted anew."""
    num_anchors = predictions.logits.shape[1]
    first, end = level_bounds(predictions.grid_sizes, num_anchors)[level]

    def inside(index: Tensor) -> Tensor:
        place = index % num_anchors
        return ((place >= first) & (place < end)).nonzero().squeeze(1)

    def renumbered(index: Tensor) -> Tensor:
        return index // num_anchors * (end - first) + index % num_anchors - first

    heat = targets.heat
    if heat is not None:
        near = inside(heat.anchor_index)
        heat = BackgroundHeat(renumbered(heat.anchor_index[near]), heat.labels[near], heat.heat[near])
    positive = inside(targets.positive_index)
    index = targets.positive_index[positive]
    ours = AnchorTargets(
        positive_index=renumbered(index),
        positive_labels=targets.positive_labels[positive],
        positive_boxes=targets.positive_boxes[positive],
        positive_anchors=targets.positive_anchors[positive],
        ignored_index=renumbered(targets.ignored_index[inside(targets.ignored_index)]),
        heat=heat,
    )
    logits = predictions.logits[:, first:end]
    sizes = [predictions.grid_sizes[level]]
    return Predictions(logits, predictions.deltas_of(index), sizes, ours.positive_index), ours
