"""Which boxes of a whole data set can be used, are written twice, or are in another format than they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

# COCO rounds corners and sides to 0.01 px, so a box at the border may leave the image by the sum of two roundings.
OUTSIDE_TOLERANCE = 0.02  # px

# A file is taken for [x1, y1, x2, y2] where that fits nearly every box and [x, y, width, height] leaves far too often.
# Corners read as sides leave the image wherever the middle of a box lies right of, or below, the image's middle.
_XYXY_FITS, _XYWH_LEAVES, _XYXY_LEAST = 0.99, 0.1, 2  # share, share, number of boxes
_FAR_BEYOND = 0.05  # of the image's side; less is carelessness at the border

_BLOCK = 1 << 20  # objects looked at at once, so that memory does not grow with the data set


def clipped_corners(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return ``(m, 4)`` float32 xyxy of ``(m, 4)`` xywh, clipped to ``(m, 2)`` (height, width)."""
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf of boxes that will be left out
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.clip(corners, 0, sizes[:, [1, 0, 1, 0]], out=corners).astype(np.float32)


def leaves_image(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return for ``(m, 4)`` xywh whether a box reaches beyond its image by more than rounding."""
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = boxes[:, :2] + boxes[:, 2:] > sizes[:, ::-1] + OUTSIDE_TOLERANCE
        return (boxes[:, :2] < -OUTSIDE_TOLERANCE).any(axis=1) | beyond.any(axis=1)


@dataclass(frozen=True)
class BoxLooks:
    """What can be said of each box on its own; ``(m,)`` bool each."""

    corners: np.ndarray  # (m, 4) float32 xyxy, clipped to the image
    finite: np.ndarray
    sized: np.ndarray  # finite, and width and height above 0
    usable: np.ndarray  # sized, and a part of it inside of the image
    leaves: np.ndarray  # beyond the image by more than rounding
    far_beyond: np.ndarray  # beyond the right or the lower side by much, taken as [x, y, width, height]
    fits_as_corners: np.ndarray  # inside of the image, taken as [x1, y1, x2, y2]
    fits_in_one: np.ndarray  # all values within 0..1 on an image that is larger


def look_at_boxes(boxes: np.ndarray, owner: np.ndarray, sizes: np.ndarray) -> BoxLooks:
    """Look at ``(m, 4)`` xywh boxes of images ``owner``; ``sizes``: ``(n, 2)`` (height, width) of the images."""
    flags = {field.name: np.zeros(len(boxes), dtype=bool) for field in fields(BoxLooks) if field.name != "corners"}
    looks = BoxLooks(np.zeros((len(boxes), 4), dtype=np.float32), **flags)
    for first in range(0, len(boxes), _BLOCK):
        part = slice(first, first + _BLOCK)
        rows, size = boxes[part], sizes[owner[part]]
        limits = size[:, ::-1]
        corners = clipped_corners(rows, size)
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(rows).all(axis=1)
            sized = finite & (rows[:, 2:] > 0).all(axis=1)
            usable = sized & (corners[:, 2:] > corners[:, :2]).all(axis=1)
            far = (rows[:, :2] + rows[:, 2:] > limits * (1 + _FAR_BEYOND)).any(axis=1)
            fits = (rows[:, 2:] > rows[:, :2]) & (rows[:, 2:] <= limits + 1) & (rows[:, :2] >= -1)
            in_one = ((rows >= 0) & (rows <= 1)).all(axis=1) & (size > 1).all(axis=1)
        found = (corners, finite, sized, usable, usable & leaves_image(rows, size), far, fits.all(axis=1), in_one)
        for column, values in zip(vars(looks).values(), found, strict=True):
            column[part] = values
    return looks


def read_as_corners(looks: BoxLooks) -> np.ndarray:
    """Return which boxes leave their image as [x, y, width, height] where all fit as corners; none where in doubt."""
    far = looks.far_beyond
    if far.sum() < max(_XYXY_LEAST, _XYWH_LEAVES * len(far)) or looks.fits_as_corners.mean() < _XYXY_FITS:
        return np.zeros_like(far)
    return far


def read_as_relative(looks: BoxLooks) -> bool:
    """Return whether every box that has a size lies within 0..1 on an image that is larger."""
    return bool(looks.sized.any() and looks.fits_in_one[looks.sized].all())


def duplicate_boxes(offsets: np.ndarray, labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the ascending positions of objects that repeat an earlier one: same image, class and coordinates."""
    found = []
    for first, last in blocks_of_images(offsets):
        owner = owners(offsets, first, last)
        rows = boxes[first:last]
        order = np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0], labels[first:last], owner))
        rows, kinds, owner = rows[order], labels[first:last][order], owner[order]
        same = (rows[1:] == rows[:-1]).all(axis=1) & (kinds[1:] == kinds[:-1]) & (owner[1:] == owner[:-1])
        found.append(first + order[1:][same])  # lexsort is stable, so the first of them stays first
    return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def blocks_of_images(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of objects that end where an image ends, of about ``_BLOCK`` objects."""
    first, total = 0, int(offsets[-1])
    while first < total:
        last = int(offsets[np.searchsorted(offsets, min(first + _BLOCK, total), side="left")])
        yield first, last
        first = last


def owners(offsets: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return the images of the objects ``first`` to ``last``."""
    return np.searchsorted(offsets, np.arange(first, last), side="right")
