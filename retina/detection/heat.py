"""Gaussian heat around the centres of objects, for losses whose background fades in around an object.

An anchor is positive by its overlap, not by its cell. So an object heats the grids of those anchor shapes that found
it, of their level: a heat map of centres for each, as a detector of centres has one. Shapes that are too small or too
large for the object stay background: nothing else would tell the network to keep them silent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from retina.detection.window import AnchorGrid
from retina.structures import BackgroundHeat, BoxTargets

# A box of the same size whose corners are off by the radius still overlaps the object this much.
# Source: Law and Deng 2018, CornerNet, section 3.2 (t = 0.3 in all experiments).
MIN_OVERLAP = 0.3


def center_radius(sizes: np.ndarray, min_overlap: float = MIN_OVERLAP) -> np.ndarray:
    """Return ``(N,)`` how far the corners of boxes may move, each by itself, for an IoU of at least ``min_overlap``.

    The smallest solution of three equations: both corners move the same way, both inwards, both outwards. (The code
    that circulates takes the larger root of the first two and divides all three by 2 instead of 2a.)

    ``sizes`` are ``(N, 2)`` widths and heights above 0; the radius has their unit.

    Source: Law and Deng 2018, CornerNet, section 3.2.
    """
    total, area = sizes.sum(axis=1), sizes.prod(axis=1)
    # (w - r)(h - r) = o / (1 + o) * 2wh
    along = (total - np.sqrt(np.maximum(total**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap), 0))) / 2
    # (w - 2r)(h - 2r) = o wh
    inwards = (total - np.sqrt(np.maximum(total**2 - 4 * area * (1 - min_overlap), 0))) / 4
    # wh = o (w + 2r)(h + 2r)
    outwards = (np.sqrt(total**2 + 4 * area * (1 / min_overlap - 1)) - total) / 4
    return np.minimum(np.minimum(along, inwards), outwards)


def background_heat(grid: AnchorGrid, matched: tuple[Tensor, Tensor, Tensor], targets: BoxTargets) -> BackgroundHeat:
    """Return the absent classes of anchors near the centre of an object of that class, with heat in (0, 1).

    Where objects of one class meet, the larger heat counts. Positive anchors of that class and ignored ones are not
    among them. ``matched`` are positive anchors, the object of each of them, and ignored anchors.
    """
    positive, own_best, ignored = (part.numpy() for part in matched)
    if not len(positive):
        return BackgroundHeat.empty()
    anchor, objects, heat = _near_centers(grid, positive, own_best, targets.boxes.numpy().astype(np.float64))
    label_of = targets.labels.numpy()
    labels, num_classes = label_of[objects], int(label_of.max()) + 1
    pair = anchor * num_classes + labels
    excluded = np.isin(pair, positive * num_classes + label_of[own_best]) | np.isin(anchor, ignored)
    order = np.lexsort((-heat, pair))
    order = order[~excluded[order]]
    order = order[np.unique(pair[order], return_index=True)[1]]  # the hottest of each pair
    columns = anchor[order], labels[order], heat[order].astype(np.float32)
    return BackgroundHeat(*map(torch.from_numpy, columns))


def _near_centers(
    grid: AnchorGrid, positive: np.ndarray, own_best: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return anchors, objects and heats of all cells within the radius of an object, among the shapes that found it."""
    shape, found = np.unique(np.stack([grid.shape_of_anchor[positive], own_best]), axis=1)  # (M,) each pair once
    stride = grid.strides[shape]
    radius = center_radius(boxes[found, 2:] - boxes[found, :2])
    center = (boxes[found, :2] + boxes[found, 2:]) / 2 / stride[:, None] - grid.offset  # x, y in cells
    reach = int(np.ceil((radius / stride).max())) + 1
    steps = np.stack(np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)), axis=-1).reshape(-1, 2)
    cell = np.floor(center).astype(np.int64)[:, None, :] + steps  # (M, W, 2) column, row
    distance_squared = (((cell - center[:, None, :]) * stride[:, None, None]) ** 2).sum(axis=2)  # (M, W) px^2
    inside = ((cell >= 0) & (cell < grid.cells.T[shape][:, None])).all(axis=2)
    pair, place = np.nonzero(inside & (distance_squared < radius[:, None] ** 2))
    column, row = cell[pair, place].T
    slot = grid.first_slot[shape[pair]] + row * grid.cells[0, shape[pair]] + column
    # Source: Law and Deng 2018, CornerNet, section 3.2: sigma is a third of the radius.
    heat = np.exp(-4.5 * distance_squared[pair, place] / np.maximum(radius[pair], 1e-9) ** 2)
    return grid.anchor_of_slot[slot], found[pair], heat
