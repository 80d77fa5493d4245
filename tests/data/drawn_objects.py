"""Images of rectangles whose every object can be drawn alone, so that where it is after an augmentation can be seen.

An augmentation draws from its key and, at most, looks at boxes; so the same key on pictures that show one object only,
white on black, does to it what it does to the real pictures, and the white pixels are its true extent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from retina.data.augment import Augment
from retina.data.samplers import SampleKey
from retina.structures import BoxTargets, Sample

SIZES = ((96, 128), (128, 96), (80, 80), (60, 150), (100, 100), (128, 120))  # (height, width)


class DrawnImages:
    """Images with rectangles apart from each other on noise; the label of an object is its own in the whole set."""

    def __init__(self, sizes: Sequence[tuple[int, int]] = SIZES, *, seed: int = 0, only: int | None = None) -> None:
        """Args: ``only``: the label of the one object that is painted, white on black; None: all of them."""
        self.sizes, self.only = sizes, only
        generator = np.random.default_rng(seed)
        self.boxes: list[np.ndarray] = []  # (n, 4) int xyxy of each image
        for height, width in sizes:
            cells = np.array([(x, y) for x in range(0, width - 29, 32) for y in range(0, height - 29, 32)])
            corners = generator.permutation(cells)[:5] + generator.integers(0, 6, (min(5, len(cells)), 2))
            self.boxes.append(np.concatenate([corners, corners + generator.integers(12, 25, corners.shape)], axis=1))
        self.first_label = np.cumsum([0, *(len(boxes) for boxes in self.boxes)])
        self._noise = [generator.integers(0, 60, (*size, 3), dtype=np.uint8) for size in sizes]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def num_objects(self) -> int:
        return int(self.first_label[-1])

    def sample(self, index: int, shrink=None) -> Sample:
        height, width = self.sizes[index]
        image = self._noise[index].copy() if self.only is None else np.zeros((height, width, 3), np.uint8)
        labels = np.arange(self.first_label[index], self.first_label[index + 1])
        for (x1, y1, x2, y2), label in zip(self.boxes[index], labels, strict=True):
            if self.only is None:
                image[y1:y2, x1:x2] = (90 + 37 * label % 160, 250 - 29 * label % 160, 90 + 53 * label % 160)
            elif label == self.only:
                image[y1:y2, x1:x2] = 255
        boxes = torch.from_numpy(self.boxes[index].astype(np.float32))
        targets = BoxTargets(boxes, torch.from_numpy(labels), torch.zeros(0, 4))
        return Sample(image, targets, image_id=100 + index, original_size=(height, width))


def extent(image: np.ndarray) -> np.ndarray | None:
    """Return the box around the bright part of ``image``, its edges between pixels; None where nothing is bright."""
    brightness = image.max(axis=2).astype(float)
    brightness -= np.median(brightness)  # less contrast makes black gray
    if brightness.max() < 40:  # noise and JPEG make black a little brighter
        return None
    share = brightness / brightness.max()
    (x1, x2), (y1, y2) = _edges(share.max(axis=0)), _edges(share.max(axis=1))
    return np.array([x1, y1, x2, y2])


def _edges(profile: np.ndarray) -> tuple[float, float]:
    """Return where ``profile`` passes half of its height there, from the centres of the pixels beside."""
    return _first_edge(profile), len(profile) - _first_edge(profile[::-1])


def _first_edge(profile: np.ndarray) -> float:
    # Of its height near the edge: an object that another image half covers has two.
    start = int(np.argmax(profile >= 0.2))
    half = profile[start : start + 4].max() / 2
    first = start + int(np.argmax(profile[start:] >= half))
    if first == 0:
        return 0.0
    before, after = profile[first - 1], profile[first]
    return first - 0.5 + (half - before) / (after - before)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = sides.clip(min=0).prod()
    return float(common / ((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - common))


def misplaced(
    result: Sample, augment: Augment, key: SampleKey, sets: Sequence[DrawnImages], *, blur: float = 1.0
) -> list[str]:
    """Return what is wrong with the boxes of ``result``; ``sets[k]`` shows object k alone.

    Wrong are: a box that is not around its object (an edge more than a pixel off, or IoU below 0.9 from 10 pixels on),
    a box of an object that cannot be seen, and an object that can be seen and is neither object nor crowd. ``blur``:
    pixels over which an enlargement spreads an object beyond its box.
    """
    wrong = []
    boxes = dict(zip(result.targets.labels.tolist(), result.targets.boxes.numpy(), strict=True))
    crowds = result.targets.crowd_boxes.numpy()
    assert len(boxes) == len(result.targets.boxes), "an object is there twice: use a key whose images are all different"
    for label, alone in enumerate(sets):
        seen = extent(augment(key, alone).image)
        if seen is None or (seen[2:] - seen[:2]).min() < blur:
            # A fraction of a pixel is seen, or nothing.
            if label in boxes and (boxes[label][2:] - boxes[label][:2]).min() > blur + 1:
                wrong.append(f"object {label} has the box {boxes[label]}, but cannot be seen")
        elif label in boxes:
            large = (seen[2:] - seen[:2]).min() >= 10
            if np.abs(seen - boxes[label]).max() > 1 or (large and iou(seen, boxes[label]) < 0.9):
                wrong.append(f"object {label} is at {seen.round(1)}, its box at {boxes[label].round(1)}")
        elif not any((crowd[:2] <= seen[:2] + 1).all() and (crowd[2:] >= seen[2:] - 1).all() for crowd in crowds):
            wrong.append(f"object {label} is at {seen.round(1)}, and nothing says so")
    return wrong
