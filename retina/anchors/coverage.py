"""How well anchors fit boxes: the best anchor of each box, and how many anchors each box is given.

The assigner looks at one image; here the boxes of all images on one canvas are looked at together, so that a data set
of a million boxes takes about a minute. The outcome is the assigner's, anchor by anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid, Overlaps

# Boxes that are looked at together: enough to outweigh the cost of a call, few enough to stay in the memory of a cache.
CHUNK = 4096
_PAIRS = 1 << 20  # pairs of a box and an anchor whose overlap is computed at once


@dataclass(frozen=True)
class NetworkBoxes:
    """The objects of a data set in pixels of the network's input, without crowds."""

    boxes: np.ndarray  # (m, 4) float32 xyxy
    image: np.ndarray  # (m,) int64, ascending: position of the box's image
    canvases: np.ndarray  # (n, 2) int64 (height, width) of each image, padded
    labels: np.ndarray  # (m,) int64 in [0, K)
    original_areas: np.ndarray  # (m,) float64 as in the annotation file, which is what small, medium and large mean

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> NetworkBoxes:
        """Return the boxes at the ascending positions ``chosen``, or where the mask is true; all images stay."""
        of_boxes = ("boxes", "image", "labels", "original_areas")
        return replace(self, **{name: getattr(self, name)[chosen] for name in of_boxes})

    @property
    def sides(self) -> np.ndarray:  # (m, 2) float64 widths and heights
        return self.boxes[:, 2:].astype(np.float64) - self.boxes[:, :2]


@dataclass(frozen=True)
class Coverage:
    """What anchors do for each of ``m`` boxes; shapes are counted level by level, ``level * per cell + shape``."""

    best_iou: np.ndarray  # (m,) float32, with the anchor that overlaps the box most
    best_shape: np.ndarray  # (m,) int64, of that anchor
    num_positives: np.ndarray  # (m,) int64: anchors that are to find this box; 0: it is lost, no anchor learns it
    positives_of_shape: np.ndarray  # (L * per cell,) int64


def best_possible_iou(generator: AnchorGenerator, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Return ``(N,)`` float32 IoU of each box with its best anchor, as the full table of overlaps has it.

    Boxes are ``(N, 4)`` xyxy pixels of the network's input; ``canvas`` is (height, width) with padding.
    """
    return torch.from_numpy(best_anchors(AnchorGrid(generator, canvas), boxes.numpy())[0])


def best_anchors(grid: AnchorGrid, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(N,)`` float32 IoU of each box with its best anchor, and ``(N,)`` that anchor, the first one on ties.

    Where a box overlaps no anchor the IoU is 0 and the anchor 0.
    """
    best_iou, best = np.zeros(len(boxes), dtype=np.float32), np.zeros(len(boxes), dtype=np.int64)
    for start in range(0, len(boxes), CHUNK):
        chunk = np.ascontiguousarray(boxes[start : start + CHUNK], dtype=np.float32)
        for pairs, iou in _pairs_from(grid, chunk, least=np.inf):
            first = np.flatnonzero(np.diff(pairs.box, prepend=-1))
            largest = np.maximum.reduceat(iou, first)
            is_best = iou == np.repeat(largest, np.diff(first, append=len(iou)))
            anchor = np.where(is_best, grid.anchor_of_slot[pairs.slot], len(grid.anchors))
            owner = start + pairs.box[first]
            best_iou[owner], best[owner] = largest, np.minimum.reduceat(anchor, first)
    return best_iou, np.where(best_iou > 0, best, 0)


def measure_coverage(
    assigner: Assigner, objects: NetworkBoxes, tell: Callable[[int], None] = lambda done: None
) -> Coverage:
    """Return what the anchors of ``assigner`` do for each box; ``tell`` is called with the number of boxes done."""
    num_shapes = len(assigner.anchors.strides) * assigner.anchors.num_per_cell
    best_iou, best_shape = np.zeros(len(objects), dtype=np.float32), np.zeros(len(objects), dtype=np.int64)
    num_positives = np.zeros(len(objects), dtype=np.int64)
    of_shape, done = np.zeros(num_shapes, dtype=np.int64), 0
    for canvas, groups in by_canvas(objects):
        grid = AnchorGrid(assigner.anchors, canvas)
        shape_of_anchor = np.empty(len(grid.anchors), dtype=np.int64)
        shape_of_anchor[grid.anchor_of_slot] = np.repeat(np.arange(num_shapes), grid.end_slot - grid.first_slot)
        for members in groups:
            chunk = objects.boxes[members]
            best_iou[members], anchor = best_anchors(grid, chunk)
            best_shape[members] = shape_of_anchor[anchor]
            anchor, box = positive_anchors(assigner, grid, chunk, objects.image[members])
            num_positives[members] = np.bincount(box, minlength=len(members))
            of_shape += np.bincount(shape_of_anchor[anchor], minlength=num_shapes)
            done += len(members)
            tell(done)
    return Coverage(best_iou, best_shape, num_positives, of_shape)


def by_canvas(objects: NetworkBoxes) -> Iterator[tuple[tuple[int, int], list[np.ndarray]]]:
    """Yield each canvas with the positions of its boxes, in portions of whole images and about ``CHUNK`` boxes."""
    canvases, kind = np.unique(objects.canvases, axis=0, return_inverse=True)
    kind_of_box = kind.reshape(-1)[objects.image]
    order = np.argsort(kind_of_box, kind="stable")  # images stay in one piece and in order
    ends = np.cumsum(np.bincount(kind_of_box, minlength=len(canvases)))
    for canvas, members in zip(canvases, np.split(order, ends[:-1]), strict=True):
        if len(members):
            starts = np.flatnonzero(np.diff(objects.image[members], prepend=-1))
            portion = np.repeat(starts // CHUNK, np.diff(starts, append=len(members)))
            yield (int(canvas[0]), int(canvas[1])), np.split(members, np.flatnonzero(np.diff(portion)) + 1)


def positive_anchors(
    assigner: Assigner, grid: AnchorGrid, boxes: np.ndarray, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive anchors of several images on one canvas and the box that each of them is to find.

    ``boxes`` are ``(N, 4)`` float32 xyxy pixels, ``image`` ``(N,)`` ascending says which image a box is of. Anchors
    ``(P,)`` are counted within their image, boxes ``(P,)`` are positions in ``boxes``; by image, then by slot.
    """
    boxes, least = np.ascontiguousarray(boxes, dtype=np.float32), np.float32(assigner.positive_iou)
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    counts = np.diff(starts, append=len(image))
    position = np.repeat(np.arange(len(starts)), counts)  # (N,) of the image among those that are here
    found = [np.zeros((3, 0))]
    for pairs, iou in _pairs_from(grid, boxes, least=assigner.positive_iou, match_every_box=assigner.match_every_box):
        wanted = iou >= least
        if assigner.match_every_box:
            first = np.flatnonzero(np.diff(pairs.box, prepend=-1))
            largest = np.repeat(np.maximum.reduceat(iou, first), np.diff(first, append=len(iou)))
            wanted |= (iou == largest) & (iou > 0)
        key = position[pairs.box] * len(grid.areas) + pairs.slot
        found.append(np.stack([key, pairs.box, iou])[:, wanted])  # float64 holds all three exactly
    key, box, iou = _best_of_each(*np.concatenate(found, axis=1))
    # Another box of the image may overlap an anchor more that only the rule for every box made positive.
    low = np.flatnonzero(iou < least)
    slot = key % len(grid.areas)
    image_of_key = key // len(grid.areas)
    work = np.cumsum(counts[image_of_key[low]])
    for part in np.split(low, np.flatnonzero(np.diff(work // _PAIRS)) + 1):
        num_rivals = counts[image_of_key[part]]
        anchor = np.repeat(np.arange(len(part)), num_rivals)
        rival = np.arange(len(anchor)) - np.repeat(np.cumsum(num_rivals) - num_rivals, num_rivals)
        rival += np.repeat(starts[image_of_key[part]], num_rivals)
        box[part] = _best_of_each(anchor, rival, _iou_of(grid, boxes, rival, slot[part][anchor]))[1]
    return grid.anchor_of_slot[slot], box


def _pairs_from(
    grid: AnchorGrid, boxes: np.ndarray, *, least: float, match_every_box: bool = True
) -> Iterator[tuple[Overlaps, np.ndarray]]:
    """Yield the pairs of IoU ``least`` or more, with ``match_every_box`` down to the best of each box, and others."""
    longest = grid.longest(boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).clip(min=0).prod(axis=1)[:, None] + grid.sides.prod(axis=0)
    threshold = np.full((len(boxes), 1), least)
    if match_every_box:
        certain = (longest - 2 * grid.margin).clip(min=0).prod(axis=0)  # (N, S) square pixels that are surely shared
        threshold = np.minimum(threshold, (certain / (areas - certain)).max(axis=1, keepdims=True))
    # I / (A + B - I) = t means I = t / (1 + t) (A + B).
    for pairs in grid.overlaps(boxes, threshold / (1 + threshold) * areas, longest):
        if len(pairs.box):
            yield pairs, grid.iou(boxes, pairs)


def _best_of_each(key: np.ndarray, box: np.ndarray, iou: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each key once, ascending, with the box of the largest IoU, the first one on ties."""
    order = np.lexsort((box, -iou, key))
    first = order[np.flatnonzero(np.diff(key[order], prepend=-1))]
    return key[first].astype(np.int64), box[first].astype(np.int64), iou[first]


def _iou_of(grid: AnchorGrid, boxes: np.ndarray, box: np.ndarray, slot: np.ndarray) -> np.ndarray:
    sides = np.minimum(boxes[box, 2:].T, grid.edges[2:, slot]) - np.maximum(boxes[box, :2].T, grid.edges[:2, slot])
    sides = np.maximum(sides, np.float32(0))
    return grid.iou(boxes, Overlaps(box, slot, sides[0] * sides[1]))
