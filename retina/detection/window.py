"""Assignment without the (objects x anchors) table: overlaps are computed only where they can decide something.

Anchors of one shape stand on a grid, so their overlap with a box falls off with the distance of the centres along
each axis. Few shapes and few cells around a box can reach the thresholds; only there is the IoU computed, by the same
operations in the same order as in the full table, so the outcome is the same anchor by anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retina.detection.anchors import AnchorGenerator

# The windows are found in float64, the overlaps decided in float32: both are widened by more than its rounding.
LOWER_THRESHOLD = 1.0 - 1e-3
MORE_CELLS = 1e-2


@dataclass(frozen=True)
class Pairs:
    """Boxes and anchors that may belong together, ordered by box."""

    box: np.ndarray  # (M,) int64
    anchor: np.ndarray  # (M,) int64
    iou: np.ndarray  # (M,) float32


class AnchorGrid:
    """The anchors of one canvas as ``S`` shapes, each on a grid of its own stride."""

    def __init__(self, generator: AnchorGenerator, canvas: tuple[int, int]) -> None:
        """Tile the anchors over ``canvas`` = (height, width)."""
        grid_sizes = generator.grid_sizes(canvas)
        self.anchors = generator(grid_sizes)  # (A, 4)
        self.boxes = self.anchors.numpy()
        per_cell, num_levels = generator.num_per_cell, len(grid_sizes)
        shapes = np.concatenate([generator.shapes(stride).numpy() for stride in generator.strides])
        self.sides = (shapes[:, 2:] - shapes[:, :2]).astype(np.float64)  # (S, 2) width, height
        self.strides = np.repeat(np.array(generator.strides, dtype=np.float64), per_cell)[:, None]  # (S, 1)
        self.cells = np.repeat(np.array(grid_sizes)[:, ::-1], per_cell, axis=0)  # (S, 2) columns, rows
        firsts = np.cumsum([0, *(rows * columns * per_cell for rows, columns in grid_sizes)])[:-1]
        self.first = np.repeat(firsts, per_cell) + np.tile(np.arange(per_cell), num_levels)  # (S,) anchor of cell 0
        self.per_cell, self.offset = per_cell, generator.offset

    def pairs(self, boxes: np.ndarray, least_iou: float, *, best_of_box: bool) -> Pairs:
        """Return every pair of at least ``least_iou``, and with ``best_of_box`` the best ones of every box as well.

        Further pairs of lower overlap may be among them.

        Args:
            boxes: ``(N, 4)`` float32 xyxy pixels.
        """
        low, high = boxes[:, None, :2].astype(np.float64), boxes[:, None, 2:].astype(np.float64)  # (N, 1, 2)
        half = self.sides / 2
        # The nearest cell of a shape has its largest overlap, since both axes fall off with distance.
        nearest = np.rint((low + high) / 2 / self.strides - self.offset).clip(0, self.cells - 1)  # (N, S, 2)
        centers = (nearest + self.offset) * self.strides
        overlap = (np.minimum(high, centers + half) - np.maximum(low, centers - half)).clip(min=0)
        areas = (high - low).prod(axis=-1) + self.sides.prod(axis=-1)  # (N, S)
        largest = overlap.prod(axis=-1)
        shape_iou = largest / (areas - largest)  # (N, S)
        threshold = np.full((len(boxes), 1), least_iou)
        if best_of_box:
            threshold = np.minimum(threshold, shape_iou.max(axis=1, keepdims=True))
        threshold = threshold * LOWER_THRESHOLD
        box, shape = np.nonzero((shape_iou >= threshold) & (largest > 0))
        # IoU >= t means an intersection of at least t / (1 + t) of both areas together.
        needed = (threshold / (1 + threshold) * areas)[box, shape]
        along = overlap[box, shape]  # (W, 2) the most there is along x and y
        least = needed[:, None] / along[:, ::-1]
        first = (low[box, 0] + least - half[shape]) / self.strides[shape] - self.offset - MORE_CELLS
        last = (high[box, 0] - least + half[shape]) / self.strides[shape] - self.offset + MORE_CELLS
        first = np.ceil(first).clip(min=0).astype(np.int64)
        last = np.floor(last).clip(max=self.cells[shape] - 1).astype(np.int64)
        return self._measured(boxes, *self._enumerated(box, shape, first, (last - first + 1).clip(min=0)))

    def _enumerated(
        self, box: np.ndarray, shape: np.ndarray, first: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return box and anchor of every cell in the W windows of ``count`` (columns, rows) from cell ``first`` on."""
        cells = count.prod(axis=1)
        window = np.repeat(np.arange(len(box)), cells)
        within = np.arange(len(window)) - np.repeat(np.cumsum(cells) - cells, cells)
        row, column = np.divmod(within, np.maximum(count[window, 0], 1))
        cell = (first[window, 1] + row) * self.cells[shape[window], 0] + first[window, 0] + column
        return box[window], self.first[shape[window]] + cell * self.per_cell

    def _measured(self, boxes: np.ndarray, box: np.ndarray, anchor: np.ndarray) -> Pairs:
        """Compute the IoU of each pair as :func:`retina.boxes.pairwise_iou` does, operation by operation."""
        ours, theirs = boxes[box], self.boxes[anchor]
        sides = np.minimum(ours[:, 2:], theirs[:, 2:]) - np.maximum(ours[:, :2], theirs[:, :2])
        sides = np.maximum(sides, np.float32(0))
        intersection = sides[:, 0] * sides[:, 1]
        union = _area(ours) + _area(theirs) - intersection
        iou = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
        return Pairs(box, anchor, iou)


def best_pairs(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each anchor of ``pairs`` once, ascending, with its largest IoU and the first box that has it."""
    order = np.lexsort((pairs.box, -pairs.iou, pairs.anchor))
    anchor = pairs.anchor[order]
    starts = np.flatnonzero(np.diff(anchor, prepend=-1))
    return anchor[starts], pairs.iou[order][starts], pairs.box[order][starts]


def best_anchors(pairs: Pairs, num_boxes: int) -> np.ndarray:
    """Return the anchors, ascending, that overlap some box most, ties included, where they overlap it at all."""
    best_of_box = np.zeros(num_boxes, dtype=np.float32)
    np.maximum.at(best_of_box, pairs.box, pairs.iou)
    return np.unique(pairs.anchor[(pairs.iou == best_of_box[pairs.box]) & (pairs.iou > 0)])


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
