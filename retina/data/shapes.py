"""The embedded data set: coloured shapes on textures, drawn at first use into a folder laid out as COCO's.

Made so that a wrong detector shows: two classes differ only in colour and others only in shape, a quarter of the
boxes is small, objects overlap, distractors must not be found, a tenth of the images holds no object at all, and
validation has textures that training never shows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np

from retina.data.dataset import DetectionDataset
from retina.data.folders import CocoFolder, Opened
from retina.data.shapes_drawing import CLASSES, Layout, draw_scene
from retina.data.shapes_textures import TEXTURES
from retina.errors import DataError
from retina.files import make_folder_atomically
from retina.ranges import AtLeast, AtLeast1, Count, checked

# Raise it with every change of the pictures or of the layout of the folder: old folders are then left alone.
FORMAT_VERSION = 4
SPLITS = ("train", "val")
# Decoding is paid for in every epoch: 0.3-0.5 ms an image as JPEG, 1.0-1.6 ms as PNG, which is also 4.5 times as large.
JPEG_QUALITY = 95


@checked
@dataclass(frozen=True)
class ShapesFolder:
    """The shapes set of given sizes and seed; drawn at the first :meth:`open`, at 3 to 4 ms an image on one core."""

    name: str = "shapes"
    root: str = "data/shapes"  # each choice of the settings below has its own folder in it
    num_train_images: AtLeast1 = 1200
    num_val_images: AtLeast1 = 200
    image_size: Annotated[int, AtLeast(128)] = 256  # pixels, both sides
    seed: Count = 0

    @property
    def splits(self) -> tuple[str, ...]:
        return SPLITS

    @property
    def folder(self) -> Path:
        """Return where the images and annotations stand once made."""
        settings = [self.num_train_images, self.num_val_images, self.image_size, self.seed]
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
        return Path(self.root).expanduser() / f"v{FORMAT_VERSION}-{digest}"

    @property
    def is_made(self) -> bool:
        return self.folder.is_dir()

    def open(self, split: str) -> DetectionDataset:
        return self._made(split).open(split)

    def inspect(self, split: str) -> Opened:
        try:
            return self._made(split).inspect(split)
        except DataError as error:
            return Opened.failed(self.name, split, error)

    def _made(self, split: str) -> CocoFolder:
        """Return the folder, after drawing the whole set if it is not there yet."""
        if split not in SPLITS:
            raise DataError(
                f"data set {self.name!r} has no split {split!r}; it has {', '.join(SPLITS)}", fix=f"split={SPLITS[-1]}"
            )
        self.make()
        return CocoFolder(self.name, str(self.folder), **{split: _places(split)})  # type: ignore[arg-type]

    def make(self) -> None:
        """Draw the set unless it is there; several processes may do so at once and end with one folder."""
        if self.is_made:
            return
        try:
            with make_folder_atomically(self.folder) as unfinished:
                for split, count in zip(SPLITS, (self.num_train_images, self.num_val_images), strict=True):
                    _write_split(unfinished, split, count=count, side=self.image_size, seed=self.seed)
        except OSError as error:
            raise DataError(
                f"data set {self.name!r} cannot be written: {self.folder}",
                why=f"it is drawn at first use, and: {error.strerror or error}",
                fix="dataset.root=<a folder that can be written>",
            ) from error


def draw_image(seed: int, split: str, index: int, *, side: int) -> tuple[np.ndarray, Layout]:
    """Return ``(side, side, 3)`` uint8 RGB pixels of one image and what stands in it: a function of its key alone."""
    key = (seed, SPLITS.index(split))
    empty = np.random.default_rng([*key, index // 10, 1]).integers(10) == index % 10  # one of every ten
    rng = np.random.default_rng([*key, index, 2])
    return draw_scene(rng, TEXTURES[split], side=side, empty=bool(empty))


def _places(split: str) -> dict[str, str]:
    """Return the folder of images and the annotation file: COCO's own names, which every COCO reader knows."""
    return {"images": f"{split}2017", "annotations": f"annotations/instances_{split}2017.json"}


def _write_split(folder: Path, split: str, *, count: int, side: int, seed: int) -> None:
    image_folder, annotation_file = (folder / place for place in _places(split).values())
    image_folder.mkdir(parents=True)
    annotation_file.parent.mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        pixels, layout = draw_image(seed, split, index, side=side)
        image_id = 1 + index + 1_000_000 * SPLITS.index(split)  # as in COCO, no id stands in both splits
        file_name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (image_folder / file_name).write_bytes(encoded.tobytes())
        images.append({"id": image_id, "file_name": file_name, "height": side, "width": side, "license": 1})
        for record in _objects(layout):
            annotations.append({"id": 100 + len(annotations), "image_id": image_id, **record})
    described = f"retina shapes, {split}: {count} images of {side} x {side} pixels, seed {seed}"
    document = {
        "info": {"description": described, "version": str(FORMAT_VERSION)},
        "licenses": [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": kind.category_id, "name": kind.name, "supercategory": kind.shape} for kind in CLASSES],
    }
    annotation_file.write_text(json.dumps(document), encoding="utf-8")


def _objects(layout: Layout) -> list[dict[str, Any]]:
    """Return COCO's record of every object: its box and area are those of the pixels in sight."""
    records = []
    for index, (figure, (x1, y1, x2, y2)) in enumerate(zip(layout.figures, layout.boxes, strict=True)):
        if figure.label is not None:
            kind, box = CLASSES[figure.label], [x1, y1, x2 - x1, y2 - y1]
            area = int(np.count_nonzero(layout.visible_mask(index)))
            records.append({"category_id": kind.category_id, "bbox": box, "area": area, "iscrowd": 0})
    return records
