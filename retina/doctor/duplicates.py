"""Images that are there twice: the same file content, or nearly the same picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retina.data.checks.images import ImageCheck, place
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Findings
from retina.doctor.kinds import IDENTICAL, LEAK, NEAR, NEAR_LEAK, unchecked

# Correlation of two gray copies from which pictures are nearly the same. Measured on 364 microscope images and 158
# photographs: recompressed 0.97 and more, shifted by four pixels 0.96, brightened 0.94; different ones at most 0.87.
MIN_CORRELATION = 0.93
MIN_CONTRAST = 3.0  # gray levels (standard deviation): flat pictures correlate by their noise, so they are left out
MAX_COMPARED = 150_000  # images; the number of pairs grows with the square: minutes
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of one split."""

    split: str
    index: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that show the same; the first stands in the earlier split."""

    first: Picture
    second: Picture
    correlation: float  # 1: identical content


def find_duplicates(checks: Mapping[str, ImageCheck]) -> tuple[list[Pair], list[Pair], int]:
    """Return identical pairs, nearly identical pairs (most alike first), and how many images were not compared."""
    pictures = [(Picture(split, each.index), each) for split, check in checks.items() for each in check.seen]
    by_content: dict[bytes, list[Picture]] = defaultdict(list)
    for picture, each in pictures:
        if each.digest is not None:
            by_content[each.digest].append(picture)
    # Of many copies each is told beside the first.
    identical = [Pair(same[0], other, 1.0) for same in by_content.values() for other in same[1:]]
    copies = {pair.second for pair in identical}
    compared = [(p, each.thumbnail) for p, each in pictures if each.thumbnail is not None and p not in copies]
    if len(compared) > MAX_COMPARED:
        return identical, [], len(compared)
    rows = near_pairs(np.array([thumbnail for _, thumbnail in compared]))
    near = [Pair(compared[a][0], compared[b][0], value) for a, b, value in rows]
    return identical, sorted(near, key=lambda pair: -pair.correlation), 0


def near_pairs(thumbnails: np.ndarray) -> list[tuple[int, int, float]]:
    """Return ``(i, j, correlation)`` with i < j of the ``(n, S, S)`` gray pictures that are nearly the same."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32) if len(thumbnails) else np.zeros((0, 1))
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    with_contrast = np.flatnonzero(length[:, 0] >= MIN_CONTRAST * np.sqrt(flat.shape[1]))
    unit = (flat[with_contrast] / length[with_contrast]).astype(np.float32)
    pairs = []
    for start in range(0, len(unit), _BLOCK):
        block = unit[start : start + _BLOCK] @ unit[start:].T  # (block, rest)
        rows, columns = np.nonzero(block >= MIN_CORRELATION)
        later = columns > rows
        for row, column in zip(rows[later].tolist(), columns[later].tolist(), strict=True):
            first, second = int(with_contrast[start + row]), int(with_contrast[start + column])
            pairs.append((first, second, float(block[row, column])))
    return pairs


def duplicate_findings(
    identical: Sequence[Pair], near: Sequence[Pair], not_compared: int, datasets: Mapping[str, DetectionDataset]
) -> tuple[Finding, ...]:
    """Return what the pairs mean: a leak where they stand in two splits."""
    findings = Findings(" and ".join(dataset.annotations.source for dataset in datasets.values()))
    for pairs, within, across in ((identical, IDENTICAL, LEAK), (near, NEAR, NEAR_LEAK)):
        for pair in pairs:
            kind = within if pair.first.split == pair.second.split else across
            findings.add(kind, f"{_named(pair.first, datasets)} and {_named(pair.second, datasets)}")
    if not_compared:
        reason = f"for pictures that are nearly identical: more than {MAX_COMPARED:,}"
        return (*findings.all(), unchecked(findings.file, not_compared, reason))
    return findings.all()


def _named(picture: Picture, datasets: Mapping[str, DetectionDataset]) -> str:
    return f"{picture.split} {place(datasets[picture.split], picture.index)}"
