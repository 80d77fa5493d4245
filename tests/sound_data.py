"""A sound data set of two splits, small enough to be made anew for every test."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from retina.data.dataset import DetectionDataset
from retina.data.folders import CocoFolder

HEIGHT, WIDTH = 48, 64
NUM_IMAGES = {"train": 4, "val": 2}


@cache
def encoded_picture(seed: int) -> bytes:
    """Return a JPEG of smooth random colours, unlike those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image)[1].tobytes()


def sound_content(split: str) -> dict[str, Any]:
    """Return the annotation file of a split: every image has a person and a dog, no box is twice there."""
    first = 10 if split == "train" else 50
    images = [
        {"id": first + i, "file_name": f"{split}_{i}.jpg", "height": HEIGHT, "width": WIDTH}
        for i in range(NUM_IMAGES[split])
    ]
    annotations = []
    for i, image in enumerate(images):
        for category, box in ((1, [4 + i, 6, 20, 30]), (2, [30, 8 + i, 25.5, 20])):
            annotations.append({"id": 100 * image["id"] + category, "image_id": image["id"], "category_id": category,
                                "bbox": box, "area": box[2] * box[3], "iscrowd": 0, "segmentation": [],
                                "note": "kept"})  # fmt: skip
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    return {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}


@dataclass
class Data:
    """The folder of a data set and the content of its train annotations, which a test changes before it opens it."""

    root: Path
    content: dict[str, Any]
    text: str | bytes | None = None  # written in place of the content
    exif: str = "ignore"

    @property
    def file(self) -> Path:
        """The train annotations."""
        return self.root / "train.json"

    def image(self, index: int) -> Path:
        """The file of train image ``index``."""
        return self.root / "train" / f"train_{index}.jpg"

    def write(self) -> Data:
        """Write the train annotations as they are now."""
        text = json.dumps(self.content) if self.text is None else self.text
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return self

    def folder(self, **settings: Any) -> CocoFolder:
        """Return what opens the splits."""
        splits = {split: {"images": split, "annotations": f"{split}.json"} for split in NUM_IMAGES}
        return CocoFolder("tiny", str(self.root), **splits, exif=self.exif, **settings)

    def open(self, split: str = "train", **settings: Any) -> DetectionDataset:
        """Return the data set of a split."""
        return self.folder(**settings).open(split)


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[[], Data]:
    """Make a sound data set in a new folder."""

    def make(name: str = "tiny") -> Data:
        root = tmp_path / name
        for split, count in NUM_IMAGES.items():
            (root / split).mkdir(parents=True)
            for i in range(count):
                seed = i + (100 if split == "val" else 0)
                (root / split / f"{split}_{i}.jpg").write_bytes(encoded_picture(seed))
            (root / f"{split}.json").write_text(json.dumps(sound_content(split)))
        return Data(root, deepcopy(sound_content("train")))

    return make


@pytest.fixture
def data(make_data: Callable[[], Data]) -> Data:
    return make_data()
