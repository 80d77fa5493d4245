"""Assignment without the (objects x anchors) table: overlaps are computed only where they can decide something.

Anchors of one shape stand on a grid, so their overlap with a box falls off with the distance of the centres along
each axis. An intersection of a given area is therefore reached by few shapes, in few rows of such a shape (a window),
and in few columns of such a row. What remains is computed by the same float32 operations as in the full table, so the
outcome is the same anchor by anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retina.boxes import box_area
from retina.detection.anchors import AnchorGenerator

# Pairs are computed in portions of about so many: that bounds the memory and stays in the processor's cache.
PORTION = 1 << 15
LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Overlaps:
    """Boxes and anchors with the area they share, ordered by box."""

    box: np.ndarray  # (M,) int64
    slot: np.ndarray  # (M,) int64, of the anchor
    intersection: np.ndarray  # (M,) float32 square pixels


@dataclass(frozen=True)
class BestBoxes:
    """Some anchors, ascending, each with the box that overlaps it most."""

    anchor: np.ndarray  # (M,) int64
    box: np.ndarray  # (M,) int64, the first one on ties
    iou: np.ndarray  # (M,) float32
    forced: np.ndarray  # (M,) bool: some box has no better anchor


@dataclass(frozen=True)
class _Search:
    """Boxes that each look for anchors of one shape."""

    box: np.ndarray  # (W,) int64
    corners: np.ndarray  # (W, 4) float32, of the box
    shape: np.ndarray  # (W,) int64
    needed: np.ndarray  # (W,) float64 square pixels of intersection

    def __getitem__(self, index: np.ndarray) -> _Search:
        return _Search(self.box[index], self.corners[index], self.shape[index], self.needed[index])


@dataclass(frozen=True)
class _Subset:
    """Some of the slots."""

    slots: np.ndarray  # (L,) int64, ascending
    before: np.ndarray  # (A + 1,) int64: how many of them come before each slot

    @classmethod
    def of(cls, slots: np.ndarray, num_anchors: int) -> _Subset:
        return cls(slots, np.concatenate([[0], np.cumsum(np.bincount(slots, minlength=num_anchors))]))


class AnchorGrid:
    """The anchors of one canvas as ``S`` shapes, each on a grid of its own stride.

    The slot of an anchor is its place in the order shape, row, column: a row of one shape is a run of slots.
    """

    def __init__(self, generator: AnchorGenerator, canvas: tuple[int, int]) -> None:
        """Tile the anchors over ``canvas`` = (height, width)."""
        grid_sizes, per_cell = generator.grid_sizes(canvas), generator.num_per_cell
        self.anchors = generator(grid_sizes)  # (A, 4)
        ends = np.cumsum([rows * columns * per_cell for rows, columns in grid_sizes])
        levels = np.split(np.arange(len(self.anchors)), ends[:-1])
        self.anchor_of_slot = np.concatenate([level.reshape(-1, per_cell).T.ravel() for level in levels])  # (A,)
        self.edges = self.anchors.numpy().T[:, self.anchor_of_slot]  # (4, A) by slot
        self.areas = box_area(self.anchors).numpy()[self.anchor_of_slot]  # (A,) by slot
        shapes = np.concatenate([generator.shapes(stride).numpy() for stride in generator.strides])
        self.sides = (shapes[:, 2:] - shapes[:, :2]).T.astype(np.float64)  # (2, S) width, height
        self.strides = np.repeat(np.array(generator.strides, dtype=np.float64), per_cell)  # (S,)
        self.cells = np.repeat(np.array(grid_sizes)[:, ::-1], per_cell, axis=0).T  # (2, S) columns, rows
        self.end_slot = np.cumsum(self.cells.prod(axis=0))  # (S,) behind the last anchor of each shape
        self.first_slot = self.end_slot - self.cells.prod(axis=0)  # (S,)
        self.offset = generator.offset
        self.everything = _Subset.of(np.arange(len(self.anchors)), len(self.anchors))
        # Windows are found in float64 from the exact grid, overlaps are float32 of rounded anchors. Rounding makes an
        # overlap less than `margin` px longer or shorter (an edge is rounded twice, by 2^-24 of it at most), and the
        # areas and quotients that follow from it wrong by less than `tolerance` of them.
        self.margin = 2.0**-22 * float(np.abs(self.edges).max())
        self.tolerance = 1e-3 + 8 * self.margin / self.sides.min()

    @cached_property
    def shape_of_anchor(self) -> np.ndarray:
        """``(A,)`` int64: the shape of each anchor."""
        shapes = np.empty(len(self.anchors), dtype=np.int64)
        shapes[self.anchor_of_slot] = np.repeat(np.arange(len(self.strides)), self.end_slot - self.first_slot)
        return shapes

    def longest(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``(2, N, S)`` how many px along x and y a box and a shape overlap at most; below 0 where apart."""
        low, high = boxes.T[:, :, None].astype(np.float64).reshape(2, 2, len(boxes), 1)
        # Overlap falls off with distance, so it is longest at the nearest cell.
        nearest = np.rint((low + high) / 2 / self.strides - self.offset).clip(0, self.cells[:, None] - 1)
        centers, half = (nearest + self.offset) * self.strides, self.sides[:, None] / 2
        return np.minimum(high, centers + half) - np.maximum(low, centers - half) + self.margin

    def overlaps(
        self, boxes: np.ndarray, needed: np.ndarray, longest: np.ndarray, among: _Subset | None = None
    ) -> Iterator[Overlaps]:
        """Yield the pairs that share at least ``needed``, and others; all pairs of a box come in one portion.

        Args:
            boxes: ``(N, 4)`` float32 xyxy pixels.
            needed: ``(N, S)`` square pixels.
            longest: what :meth:`longest` returns for the boxes.
            among: the slots that are asked for; all without.
        """
        among, needed = among or self.everything, needed * (1 - self.tolerance)
        box, shape = np.nonzero((longest[0] > 0) & (longest[1] > 0) & (longest[0] * longest[1] >= needed))
        search = _Search(box, boxes[box], shape, needed[box, shape])
        first, rows = self._span(1, search, search.needed / longest[0, box, shape])
        columns = self._span(0, search, search.needed / longest[1, box, shape])[1]
        density = (among.before[self.end_slot] - among.before[self.first_slot]) / (self.end_slot - self.first_slot)
        work = np.bincount(box, rows * (1 + columns * density[shape]), minlength=len(boxes))
        portion = (np.cumsum(work) // PORTION)[box]
        for windows in np.split(np.arange(len(box)), np.flatnonzero(np.diff(portion)) + 1):
            owner, row = _enumerated(first[windows], rows[windows])
            yield self._overlaps_in_rows(search[windows[owner]], row, among)

    def iou(self, boxes: np.ndarray, pairs: Overlaps) -> np.ndarray:
        """Return ``(M,)`` the IoU of each pair as :func:`retina.boxes.pairwise_iou` computes it."""
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        union = area[pairs.box] + self.areas[pairs.slot] - pairs.intersection
        return np.divide(pairs.intersection, union, out=np.zeros_like(union), where=union > 0)

    def _overlaps_in_rows(self, search: _Search, row: np.ndarray, among: _Subset) -> Overlaps:
        """Return the pairs of each box with the anchors of its shape in one row."""
        start = self.first_slot[search.shape] + row * self.cells[0, search.shape]
        height = self._overlap(1, search.corners, start)
        column, columns = self._span(0, search, search.needed / (height + self.margin))
        first, end = among.before[start + column], among.before[start + column + columns]
        owner, position = _enumerated(first, end - first)
        slot = among.slots[position]
        intersection = self._overlap(0, search.corners[owner], slot) * height[owner]
        return Overlaps(search.box[owner], slot, intersection)

    def _span(self, axis: int, search: _Search, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first column (axis 0) or row (axis 1) that overlaps the box by ``least`` px, and their number."""
        stride, cells = self.strides[search.shape], self.cells[axis, search.shape]
        reach = self.sides[axis, search.shape] / 2 + self.margin - least
        low, high = search.corners[:, axis] - reach, search.corners[:, axis + 2] + reach
        first = np.ceil(low / stride - self.offset).clip(0, cells).astype(np.int64)
        last = np.floor(high / stride - self.offset).clip(-1, cells - 1).astype(np.int64)
        return first, (last - first + 1).clip(min=0)

    def _overlap(self, axis: int, corners: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Return the float32 px along x (axis 0) or y (axis 1) that boxes share with anchors."""
        high = np.minimum(corners[:, axis + 2], self.edges[axis + 2, slot])
        return np.maximum(high - np.maximum(corners[:, axis], self.edges[axis, slot]), np.float32(0))


def best_boxes(grid: AnchorGrid, boxes: np.ndarray, least_iou: float, *, match_every_box: bool) -> BestBoxes:
    """Return the anchors of at least ``least_iou``, with ``match_every_box`` also those that overlap a box most.

    ``boxes`` are ``(N, 4)`` float32 xyxy pixels.
    """
    longest = grid.longest(boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).clip(min=0).prod(axis=1)[:, None] + grid.sides.prod(axis=0)
    threshold = np.full((len(boxes), 1), least_iou)
    if match_every_box:
        certain = (longest - 2 * grid.margin).clip(min=0).prod(axis=0)  # (N, S) square pixels that are surely shared
        threshold = np.minimum(threshold, (certain / (areas - certain)).max(axis=1, keepdims=True))
    best, forced = np.zeros(len(grid.areas), dtype=np.int64), np.zeros(len(grid.areas), dtype=bool)
    for pairs in grid.overlaps(boxes, _share(threshold) * areas, longest):
        iou = grid.iou(boxes, pairs)
        wanted = iou >= np.float32(least_iou)
        if match_every_box:
            best_of_box = (iou == _largest_of_box(pairs.box, iou)) & (iou > 0)
            forced[pairs.slot[best_of_box]] = True
            wanted |= best_of_box
        _keep_best(best, pairs, iou, wanted)
    found = np.flatnonzero(best)
    # Another box may overlap a forced anchor more, below the threshold: whoever has what the best box so far has.
    low = found[_iou_of(best[found]) < np.float32(least_iou)]
    if len(low):
        needed = np.full(len(grid.strides), np.inf)  # (S,) share of both areas
        shape = np.searchsorted(grid.end_slot, low, side="right")
        np.minimum.at(needed, shape, _share(_iou_of(best[low]).astype(np.float64)))
        for pairs in grid.overlaps(boxes, needed * areas, longest, _Subset.of(low, len(best))):
            iou = grid.iou(boxes, pairs)
            _keep_best(best, pairs, iou, iou > 0)
    anchor = grid.anchor_of_slot[found]
    order = np.argsort(anchor)
    keys = best[found[order]]
    return BestBoxes(anchor[order], LARGEST_INT32 - (keys & LARGEST_INT32), _iou_of(keys), forced[found[order]])


def covered_anchors(grid: AnchorGrid, regions: np.ndarray, least: float) -> np.ndarray:
    """Return the anchors, ascending, with at least ``least`` of their own area inside one region."""
    covered = np.zeros(len(grid.areas), dtype=bool)
    needed = np.broadcast_to(least * grid.sides.prod(axis=0), (len(regions), len(grid.strides)))
    for pairs in grid.overlaps(regions, needed, grid.longest(regions)):
        inside = pairs.intersection / grid.areas[pairs.slot] >= np.float32(least)
        covered[pairs.slot[inside]] = True
    return np.sort(grid.anchor_of_slot[covered])


def _share(iou: np.ndarray) -> np.ndarray:
    """Return the intersection as a share of both areas added: I / (A + B - I) = t means I = t / (1 + t) (A + B)."""
    return iou / (1 + iou)


def _keep_best(best: np.ndarray, pairs: Overlaps, iou: np.ndarray, wanted: np.ndarray) -> None:
    """Enter the ``wanted`` pairs into ``(A,)`` keys by slot, where the larger key is the better pair.

    A key is the bits of the IoU, which order positive floats as integers, and then the box, the first one largest.
    """
    bits = iou[wanted].view(np.int32).astype(np.int64)
    np.maximum.at(best, pairs.slot[wanted], bits << 32 | LARGEST_INT32 - pairs.box[wanted])


def _iou_of(keys: np.ndarray) -> np.ndarray:
    return (keys >> 32).astype(np.int32).view(np.float32)


def _largest_of_box(box: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ``(M,)`` for each of the values the largest of its box; ``box`` is ascending."""
    starts = np.flatnonzero(np.diff(box, prepend=-1))
    if len(starts) == 0:
        return values
    return np.repeat(np.maximum.reduceat(values, starts), np.diff(starts, append=len(box)))


def _enumerated(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return run by run the ``count`` numbers from ``first`` on, after the index of the run each belongs to."""
    run = np.repeat(np.arange(len(first)), count)
    return run, np.arange(len(run)) + (first - np.cumsum(count) + count)[run]
