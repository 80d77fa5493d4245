"""What is there twice: images of the same file content or nearly the same picture, objects of nearly the same box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retina.data.annotations import Annotations
from retina.data.box_checks import blocks_of_images, owners
from retina.data.checks.images import ImageCheck, unchecked
from retina.data.dataset import DetectionDataset
from retina.data.findings import Fault, Finding, Findings
from retina.doctor.catalogue import IMAGES_IDENTICAL, IMAGES_NEARLY_IDENTICAL, SPLIT_LEAK, SPLIT_NEAR_LEAK

# Correlation of two gray copies from which pictures are nearly the same. Measured on 364 microscope images and 158
# photographs: recompressed 0.97 and more, shifted by four pixels 0.96, brightened 0.94; different ones at most 0.87.
MIN_CORRELATION = 0.93
MIN_CONTRAST = 3.0  # gray levels (standard deviation): flat pictures correlate by their noise, so they are left out
MAX_COMPARED = 150_000  # images; the number of pairs grows with the square: minutes
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class SplitImage:
    """One image of one split."""

    split: str
    index: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that show the same; the first stands in the earlier split."""

    first: SplitImage
    second: SplitImage
    correlation: float | None = None  # None: the same file content

    @property
    def fault(self) -> Fault:
        """Return what the pair means: a leak where it stands in two splits."""
        exact, across = self.correlation is None, self.first.split != self.second.split
        if across:
            return SPLIT_LEAK if exact else SPLIT_NEAR_LEAK
        return IMAGES_IDENTICAL if exact else IMAGES_NEARLY_IDENTICAL


def find_duplicates(checks: Mapping[str, ImageCheck]) -> tuple[list[Pair], int]:
    """Return the pairs, identical ones first, then the most alike, and how many images were not compared."""
    images = [(SplitImage(split, each.index), each) for split, check in checks.items() for each in check.seen]
    by_content: dict[bytes, list[SplitImage]] = defaultdict(list)
    for image, each in images:
        if each.digest is not None:
            by_content[each.digest].append(image)
    # Of many copies each is told beside the first.
    identical = [Pair(same[0], other) for same in by_content.values() for other in same[1:]]
    copies = {pair.second for pair in identical}
    compared = [(image, each.thumbnail) for image, each in images if each.thumbnail is not None and image not in copies]
    if len(compared) > MAX_COMPARED:
        return identical, len(compared)
    rows = sorted(near_pairs(np.array([thumbnail for _, thumbnail in compared])), key=lambda row: -row[2])
    return identical + [Pair(compared[first][0], compared[second][0], value) for first, second, value in rows], 0


def near_pairs(thumbnails: np.ndarray) -> list[tuple[int, int, float]]:
    """Return ``(i, j, correlation)`` with i < j of the ``(n, S, S)`` gray pictures that are nearly the same."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32) if len(thumbnails) else np.zeros((0, 1))
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    with_contrast = np.flatnonzero(length[:, 0] >= MIN_CONTRAST * np.sqrt(flat.shape[1]))
    unit = (flat[with_contrast] / length[with_contrast]).astype(np.float32)
    pairs = []
    for start in range(0, len(unit), _BLOCK):
        block = np.triu(unit[start : start + _BLOCK] @ unit[start:].T, k=1)  # (block, rest), each pair once
        rows, columns = np.nonzero(block >= MIN_CORRELATION)
        firsts, seconds = with_contrast[start + rows].tolist(), with_contrast[start + columns].tolist()
        pairs += list(zip(firsts, seconds, block[rows, columns].tolist(), strict=True))
    return pairs


def duplicate_findings(
    pairs: Sequence[Pair], not_compared: int, datasets: Mapping[str, DetectionDataset]
) -> tuple[Finding, ...]:
    """Return the pairs as findings, and that images were not compared."""
    findings = Findings(" and ".join(dataset.annotations.source for dataset in datasets.values()))
    for pair in pairs:
        first, second = (
            f"{image.split} {datasets[image.split].annotations.image_place(image.index)}"
            for image in (pair.first, pair.second)
        )
        findings.add(pair.fault, f"{first} and {second}")
    if not_compared:
        reason = f"for pictures that are nearly identical: more than {MAX_COMPARED:,}"
        return (*findings.all(), unchecked(findings.file, not_compared, reason))
    return findings.all()


def near_duplicate_boxes(annotations: Annotations, *, iou: float = 0.9) -> np.ndarray:
    """Return ``(p, 2)`` positions of objects, no crowds, of one image and class that overlap by more than ``iou``.

    Boxes that are equal are left to the finding ``box-duplicate``.
    """
    labels = np.where(annotations.crowd, -1, annotations.labels)
    pairs = near_duplicate_pairs(annotations.offsets, labels, annotations.training_boxes, iou=iou)
    first, second = annotations.boxes[pairs[:, 0]], annotations.boxes[pairs[:, 1]]
    return pairs[(first != second).any(axis=1)]


def near_duplicate_pairs(
    offsets: np.ndarray, labels: np.ndarray, corners: np.ndarray, *, iou: float = 0.9
) -> np.ndarray:
    """Return ``(p, 2)`` positions of objects of one image and class whose boxes overlap by more than ``iou``.

    Args:
        offsets: ``(n + 1,)``; the objects of image ``i`` are ``offsets[i]:offsets[i + 1]``.
        labels: ``(m,)``; objects with a negative label are not looked at.
        corners: ``(m, 4)`` xyxy with a positive size.
        iou: overlap above which two boxes count; boxes that are equal count, too.
    """
    found = [np.zeros((0, 2), dtype=np.int64)]
    for first, last in blocks_of_images(offsets):
        owner, block, kinds = owners(offsets, first, last), corners[first:last].astype(np.float64), labels[first:last]
        order = np.lexsort((block[:, 0], kinds, owner))
        order = order[kinds[order] >= 0]
        pairs = _overlapping(owner[order], kinds[order], block[order], iou)
        found.append(np.sort(first + order[pairs], axis=1))
    together = np.concatenate(found)
    return together[np.lexsort((together[:, 1], together[:, 0]))]


def _overlapping(owner: np.ndarray, kinds: np.ndarray, corners: np.ndarray, iou: float) -> np.ndarray:
    """Return pairs of rows that are sorted by image, class and left side."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    widths = corners[:, 2] - corners[:, 0]
    areas = widths * (corners[:, 3] - corners[:, 1])
    left, step = np.arange(len(corners)), 0
    while True:
        step += 1
        left = left[: np.searchsorted(left, len(corners) - step)]
        right = left + step
        # The overlap is at most as wide as from the right one's left side to the left one's right side; since left
        # sides ascend, whoever is too far away for this step is so for all further ones.
        near = (owner[left] == owner[right]) & (kinds[left] == kinds[right])
        near &= corners[right, 0] - corners[left, 0] <= (1 - iou) * widths[left]
        left, right = left[near], right[near]
        if not len(left):
            return np.concatenate(found)
        sides = np.minimum(corners[left, 2:], corners[right, 2:]) - np.maximum(corners[left, :2], corners[right, :2])
        overlap = np.clip(sides, 0, None).prod(axis=1)
        high = overlap > iou * (areas[left] + areas[right] - overlap)
        found.append(np.stack([left[high], right[high]], axis=1))
