"""A tiny annotation file of our own: gaps in the category ids, a crowd, an empty image, ids that do not start at 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retina.data.dataset import DetectionDataset


@pytest.fixture
def instances() -> dict[str, Any]:
    """Three images; category 90 has no boxes; annotation ids begin at 0, which pycocotools takes for "no match"."""
    return {
        "images": [
            {"id": 30, "file_name": "c.png", "height": 100, "width": 150},
            {"id": 7, "file_name": "a.png", "height": 80, "width": 60},
            {"id": 12, "file_name": "empty.png", "height": 64, "width": 64},
        ],
        "annotations": [
            {"id": 0, "image_id": 30, "category_id": 7, "bbox": [10.0, 20.0, 40.0, 30.0], "area": 1200.0, "iscrowd": 0},
            {
                "id": 1,
                "image_id": 30,
                "category_id": 3,
                "bbox": [80.5, 40.25, 60.0, 50.5],
                "area": 3030.0,
                "iscrowd": 0,
            },
            {"id": 5, "image_id": 7, "category_id": 3, "bbox": [5.0, 8.0, 20.0, 20.0], "area": 400.0, "iscrowd": 0},
            {"id": 8, "image_id": 7, "category_id": 3, "bbox": [30.0, 40.0, 30.0, 40.0], "area": 700.0, "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "cell"}, {"id": 7, "name": "größe"}, {"id": 90, "name": "никто"}],
    }


@pytest.fixture
def annotations_file(instances: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(instances), encoding="utf-8")
    return path


@pytest.fixture
def dataset(annotations_file: Path) -> DetectionDataset:
    return DetectionDataset(None, annotations_file, name="tiny", split="val")


@pytest.fixture
def perfect(instances: dict[str, Any]) -> list[dict[str, Any]]:
    """Detections that are the ground truth."""
    return [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
        for entry in instances["annotations"]
        if not entry["iscrowd"]
    ]
