"""A COCO annotation file as flat arrays, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retina.data.coco_file import CocoFile, read_json
from retina.data.flat_text import FlatText

# COCO rounds corners and sides to 0.01 px, so a box at the border may leave the image by the sum of two roundings.
OUTSIDE_TOLERANCE = 0.02  # px


@dataclass(frozen=True)
class Annotations:
    """An annotation file as flat arrays; the objects of image ``i`` are ``offsets[i]:offsets[i + 1]``."""

    category_ids: tuple[int, ...]  # (K,) ascending; label k is category_ids[k]
    class_names: tuple[str, ...]  # (K,)
    image_ids: np.ndarray  # (n,) int64, in the file's order
    file_names: FlatText  # (n,)
    sizes: np.ndarray  # (n, 2) int64 (height, width)
    boxes: np.ndarray  # (m, 4) float64 xywh as in the file
    training_boxes: np.ndarray  # (m, 4) float32 xyxy, clipped to the image
    labels: np.ndarray  # (m,) int64 in [0, K)
    areas: np.ndarray  # (m,) float64 as in the file
    crowd: np.ndarray  # (m,) bool
    offsets: np.ndarray  # (n + 1,) int64
    notes: tuple[str, ...]  # what was left out or assumed, in sentences
    fingerprint: str  # sha256 of the file, hexadecimal


def read_annotations(path: Path) -> Annotations:
    """Return the content of the COCO annotation file at ``path``.

    Boxes that neither training nor evaluation can use (not finite, without size, outside of the image) are left out
    and said in ``notes``.

    Raises:
        DataError: whatever else is wrong, with the first five places and their number.
    """
    content, fingerprint = read_json(path)
    file = CocoFile(path, content)
    category_ids, class_names = file.categories()
    image_ids, file_names, sizes = file.images()
    file.records("annotations", ("image_id", "category_id", "bbox"))
    owner = file.positions("image_id", image_ids, "images")
    labels = file.positions("category_id", np.array(category_ids), "categories")
    boxes = file.boxes()
    areas, area_notes = file.areas(boxes)
    crowd = file.crowd()

    with np.errstate(invalid="ignore"):  # inf - inf of boxes that are about to be left out
        training_boxes = _clipped_xyxy(boxes, sizes[owner])
        keep, notes = _usable(file, boxes, training_boxes)
        outside = keep & _leaves_image(boxes, sizes[owner])
    order = np.flatnonzero(keep)
    order = order[np.argsort(owner[order], kind="stable")]  # by image, within an image in the file's order
    counts = np.bincount(owner[order], minlength=len(image_ids))
    return Annotations(
        category_ids=category_ids,
        class_names=class_names,
        image_ids=image_ids,
        file_names=FlatText(file_names),
        sizes=sizes,
        boxes=boxes[order],
        training_boxes=training_boxes[order],
        labels=labels[order],
        areas=areas[order],
        crowd=crowd[order],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        notes=(*notes, *_kept_notes(file, outside, counts), *area_notes),
        fingerprint=fingerprint,
    )


def _clipped_xyxy(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.clip(corners, 0, sizes[:, [1, 0, 1, 0]]).astype(np.float32)


def _leaves_image(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    beyond = boxes[:, :2] + boxes[:, 2:] > sizes[:, ::-1] + OUTSIDE_TOLERANCE
    return (boxes[:, :2] < -OUTSIDE_TOLERANCE).any(axis=1) | beyond.any(axis=1)


def _usable(file: CocoFile, boxes: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return which of the boxes can be used and one sentence for each kind that cannot."""
    finite = np.isfinite(boxes).all(axis=1)
    sized = finite & (boxes[:, 2:] > 0).all(axis=1)
    inside = sized & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    kinds = {
        "with values that are not finite": ~finite,
        "of zero or negative size": finite & ~sized,
        "outside of the image": sized & ~inside,
    }
    notes = []
    for kind, wrong in kinds.items():
        if wrong.any():
            notes.append(
                f"{_count(wrong, 'box', 'boxes')} {kind} left out of training and evaluation: {file.ids(wrong)}"
            )
    return inside, notes


def _kept_notes(file: CocoFile, outside: np.ndarray, counts: np.ndarray) -> list[str]:
    notes = []
    if outside.any():
        leaving = _count(outside, "box leaves its image", "boxes leave their image")
        notes.append(f"{leaving}, clipped for training: {file.ids(outside)}")
    if (counts == 0).any():
        notes.append(f"{(counts == 0).sum()} of {len(counts)} images have no objects (kept)")
    return notes


def _count(mask: np.ndarray, one: str, many: str) -> str:
    return f"{mask.sum()} {one if mask.sum() == 1 else many}"
