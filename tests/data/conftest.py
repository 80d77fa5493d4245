"""A COCO folder of our own: six small images, category ids with gaps, a crowd, an empty image, annotation id 0."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

# (id, file name, height, width)
IMAGES = [
    (40, "a.png", 60, 80),
    (7, "b.png", 80, 60),
    (12, "mit Löwe 猫.png", 50, 70),
    (3, "empty.png", 64, 64),
    (99, "deep/er/e.jpg", 40, 90),
    (1, "grey.png", 33, 47),
]
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
# (id, image id, category id, bbox, area, iscrowd)
ANNOTATIONS = [
    (0, 40, 18, [10, 20, 30.5, 15.25], 300.125, 0),
    (17, 7, 1, [5, 5, 20, 40], 800, 0),
    (3, 40, 1, [0, 0, 80, 60], 4800, 1),
    (4, 12, 90, [1.5, 2.5, 3, 4], 11.5, 0),
    (5, 99, 1, [50, 10, 45, 20], 900, 0),  # leaves the image at the right by 5
    (6, 40, 90, [40, 30, 8, 8], 50, 0),
    (8, 1, 18, [10, 10, 10, 10], 100, 0),
]


def annotation_content() -> dict[str, Any]:
    """The annotation file as Python values."""
    images = [{"id": i, "file_name": name, "height": h, "width": w} for i, name, h, w in IMAGES]
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    annotations = [dict(zip(keys, row, strict=True)) for row in ANNOTATIONS]
    return {"info": {}, "images": images, "annotations": annotations, "categories": deepcopy(CATEGORIES)}


def write_image(path: Path, image: np.ndarray) -> None:
    """Write RGB or grey pixels; by its bytes, so that any name works."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = image if image.ndim == 2 else image[..., ::-1]
    encoded, content = cv2.imencode(path.suffix, bgr)
    assert encoded
    content.tofile(path)


@pytest.fixture
def content() -> dict[str, Any]:
    return annotation_content()


@pytest.fixture
def pixels() -> dict[int, np.ndarray]:
    """What is stored for each image id; image 1 is grey."""
    generator = np.random.default_rng(0)
    stored = {i: generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for i, _, h, w in IMAGES}
    stored[1] = stored[1][..., 0]
    return stored


@pytest.fixture
def coco_folder(tmp_path: Path, content: dict[str, Any], pixels: dict[int, np.ndarray]) -> Path:
    """The folder: ``images/`` and ``instances.json``."""
    for image_id, name, _, _ in IMAGES:
        write_image(tmp_path / "images" / name, pixels[image_id])
    (tmp_path / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


@pytest.fixture
def write_annotations(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a changed annotation file and return its path."""

    def write(changed: Any) -> Path:
        path = tmp_path / "changed.json"
        path.write_text(changed if isinstance(changed, str) else json.dumps(changed), encoding="utf-8")
        return path

    return write
