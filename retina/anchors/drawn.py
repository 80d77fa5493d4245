"""The pictures that ``tools/anchors.py`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from retina.anchors.coverage import NetworkBoxes, measure_coverage
from retina.anchors.pictures import (
    LEGEND,
    Named,
    boxes_beside_anchors,
    shapes_at_their_cells,
    sizes_under_anchors,
)
from retina.data.dataset import DetectionDataset
from retina.data.transforms.resize import resized_size
from retina.errors import DataError
from retina.settings import ImageSettings


def write_pictures(
    dataset: DetectionDataset,
    objects: NetworkBoxes,
    image: ImageSettings,
    named: Sequence[Named],
    out: Path,
    num_pictures: int,
) -> None:
    """Write ``sizes.png``, ``shapes.png`` and ``num_pictures`` images with their boxes and best anchors into ``out``.

    An image that cannot be read is left out and said.
    """
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    _save(sizes_under_anchors(sides, [(name, assigner.anchors) for name, assigner in named]), out / "sizes.png")
    drawn = 0
    for index in images_to_draw(objects, named, num_pictures):
        try:
            stored = dataset.sample(index).image
        except DataError as error:
            print(f"note: left out of the pictures: {error.what}")
            continue
        height, width = resized_size(*stored.shape[:2], short_side=image.short_side, long_side=image.long_side)
        pixels = cv2.resize(stored, (width, height), interpolation=cv2.INTER_LINEAR)
        canvas = (int(objects.canvases[index, 0]), int(objects.canvases[index, 1]))
        boxes = objects.boxes[objects.image == index]
        _save(boxes_beside_anchors(pixels, boxes, canvas, named), out / f"image_{dataset.image_ids[index]}.png")
        if drawn == 0:
            _save(shapes_at_their_cells(pixels, named), out / "shapes.png")
        drawn += 1
    print(f"pictures written to {out}" + (f" ({dataset.split} images; {LEGEND})" if drawn else ""))


def images_to_draw(objects: NetworkBoxes, named: Sequence[Named], count: int) -> list[int]:
    """Return ``count`` images: half of them those with the worst boxes under the first anchors, the others spread."""
    present = np.unique(objects.image)
    if count == 0:
        return []
    missing = 1.0 - measure_coverage(named[0][1], objects).best_iou
    worst = np.argsort(-np.bincount(objects.image, missing**2, minlength=len(objects.canvases)), kind="stable")
    spread = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    chosen = [*worst[: (count + 1) // 2].tolist(), *spread.tolist(), *worst.tolist()]
    return [index for index in dict.fromkeys(chosen) if index in set(present.tolist())][:count]


def _save(picture: np.ndarray, path: Path) -> None:
    Image.fromarray(picture).save(path)
