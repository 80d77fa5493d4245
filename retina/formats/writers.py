"""Writing a data set in each of the formats: COCO, Pascal VOC, YOLO and tables of boxes."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO
from xml.etree import ElementTree

import numpy as np
import yaml

from retina.data.dataset import DetectionDataset
from retina.formats.class_list import CLASSES_FILE
from retina.formats.csv_table import COLUMNS
from retina.formats.yolo import label_places

# Pixels are written to 1e-4. Shares are written to 1e-10: of the widest image that cv2 decodes (2^20 pixels) that is
# 1e-4 pixels, too.
_PIXEL_DIGITS, _SHARE_DIGITS = 4, 10


@dataclass(frozen=True)
class ImageRecord:
    """One image with its boxes."""

    place: str  # where its file stands below the new folder
    size: tuple[int, int]  # (height, width)
    boxes: np.ndarray  # (n, 4) xywh
    labels: np.ndarray  # (n,)
    crowd: np.ndarray  # (n,) bool


class Writer(Protocol):
    """Writes a data set into an empty folder, image by image."""

    said: Counter[str]  # what was written in another way, with how often

    def place(self, split: str, file_name: str) -> str:
        """Return where the file of an image is to stand, below the folder; no two images get one place."""

    def add(self, split: str, record: ImageRecord) -> None:
        """Write the objects of one image."""

    def finish(self, datasets: dict[str, DetectionDataset]) -> None:
        """Write what names splits and classes, after the last image."""


class _Places:
    """Gives every image a place of its own."""

    def __init__(self, key: Callable[[str], str]) -> None:
        """Args: ``key`` of a place: two places of one key would share their annotations."""
        self._key, self._taken = key, set[str]()

    def take(self, place: str) -> tuple[str, bool]:
        """Return ``place``, or one like it that is free, and whether it is another."""
        stem, suffix = os.path.splitext(place)
        candidate, number = place, 1
        while self._key(candidate) in self._taken:
            number += 1
            candidate = f"{stem}_{number}{suffix}"
        self._taken.add(self._key(candidate))
        return candidate, number > 1


class CocoWriter:
    """``annotations/instances_<split>.json``, images below ``<split>/`` under their own names."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.said: Counter[str] = Counter()

    def place(self, split: str, file_name: str) -> str:
        """See :class:`Writer`."""
        return f"{split}/{file_name}"

    def add(self, split: str, record: ImageRecord) -> None:
        """See :class:`Writer`."""

    def finish(self, datasets: dict[str, DetectionDataset]) -> None:
        """See :class:`Writer`."""
        folder = self.out / "annotations"
        folder.mkdir()
        for split, dataset in datasets.items():
            with (folder / f"instances_{split}.json").open("w", encoding="utf-8") as file:
                json.dump(dataset.ground_truth(), file, ensure_ascii=False)


class VocWriter:
    """``Annotations/*.xml``, ``JPEGImages/``, ``ImageSets/Main/<split>.txt`` and ``classes.txt``."""

    def __init__(self, out: Path, class_names: Sequence[str], *, whole_pixels: bool = False) -> None:
        """Args: ``whole_pixels``: corners are rounded, as the format's own data sets have them."""
        self.out, self.class_names, self.whole_pixels = out, class_names, whole_pixels
        self.said: Counter[str] = Counter()
        self._places = _Places(lambda place: os.path.splitext(place)[0])
        self._lists: dict[str, list[str]] = {}

    def place(self, split: str, file_name: str) -> str:
        """See :class:`Writer`."""
        place, is_other = self._places.take(f"JPEGImages/{file_name}")
        self.said["images renamed: another one has the name, but for its suffix"] += is_other
        return place

    def add(self, split: str, record: ImageRecord) -> None:
        """See :class:`Writer`."""
        name = record.place.removeprefix("JPEGImages/")
        stem = os.path.splitext(name)[0]
        self._lists.setdefault(split, []).append(stem)
        root = ElementTree.Element("annotation")
        _child(root, "folder", "JPEGImages")
        _child(root, "filename", os.path.basename(name))
        size = _child(root, "size")
        for side, pixels in zip(("width", "height", "depth"), (record.size[1], record.size[0], 3), strict=True):
            _child(size, side, str(pixels))
        for box, label, crowd in zip(record.boxes, record.labels, record.crowd, strict=True):
            self._add_object(root, box, self.class_names[label], is_crowd=bool(crowd))
        ElementTree.indent(root)
        file = self.out / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)

    def finish(self, datasets: dict[str, DetectionDataset]) -> None:
        """See :class:`Writer`."""
        folder = self.out / "ImageSets" / "Main"
        folder.mkdir(parents=True)
        for split in datasets:
            lines = [f"{stem}\n" for stem in self._lists.get(split, [])]
            (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        _write_classes(self.out, self.class_names)

    def _add_object(self, root: ElementTree.Element, box: np.ndarray, class_name: str, *, is_crowd: bool) -> None:
        node = _child(root, "object")
        _child(node, "name", class_name)
        _child(node, "difficult", str(int(is_crowd)))
        self.said["crowd regions written as difficult objects, which are read back as crowd regions"] += is_crowd
        # The first pixel is 1, and xmax, ymax are inside the box.
        corners = [box[0] + 1, box[1] + 1, box[0] + box[2], box[1] + box[3]]
        if self.whole_pixels:
            first = [round(float(value)) for value in corners[:2]]
            corners = [*first, *(max(round(float(v)), low) for v, low in zip(corners[2:], first, strict=True))]
        fractional = any(_number(value, _PIXEL_DIGITS) != str(round(float(value))) for value in corners)
        self.said["boxes written with fractions of a pixel (round=true writes whole pixels)"] += fractional
        bndbox = _child(node, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            _child(bndbox, name, _number(value, _PIXEL_DIGITS))


class YoloWriter:
    """``images/<split>/``, ``labels/<split>/*.txt`` and ``data.yaml``."""

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        self.out, self.class_names = out, class_names
        self.said: Counter[str] = Counter()
        self._places = _Places(lambda place: label_places(f"/{place}")[0])

    def place(self, split: str, file_name: str) -> str:
        """See :class:`Writer`."""
        place, is_other = self._places.take(f"images/{split}/{file_name}")
        self.said["images renamed: another one has the name, but for its suffix"] += is_other
        return place

    def add(self, split: str, record: ImageRecord) -> None:
        """See :class:`Writer`."""
        file = self.out / label_places(f"/{record.place}")[0].lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        sides = np.array([record.size[1], record.size[0]] * 2, dtype=np.float64)
        lines = []
        for box, label in zip(record.boxes[~record.crowd], record.labels[~record.crowd], strict=True):
            shares = np.concatenate([box[:2] + box[2:] / 2, box[2:]]) / sides
            lines.append(" ".join([str(label), *(_number(value, _SHARE_DIGITS) for value in shares)]) + "\n")
        self.said[CROWDS_LEFT_OUT] += int(record.crowd.sum())
        file.write_text("".join(lines), encoding="utf-8")  # empty where there are no objects

    def finish(self, datasets: dict[str, DetectionDataset]) -> None:
        """See :class:`Writer`."""
        content = {split: f"images/{split}" for split in datasets}
        names = dict(enumerate(self.class_names))
        text = yaml.safe_dump({**content, "names": names}, allow_unicode=True, sort_keys=False)
        (self.out / "data.yaml").write_text(text, encoding="utf-8")


class CsvWriter:
    """``<split>.csv`` with a header, ``images/<split>/`` and ``classes.txt``."""

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        self.out, self.class_names = out, class_names
        self.said: Counter[str] = Counter()
        self._places = _Places(str)
        self._files: dict[str, TextIO] = {}

    def place(self, split: str, file_name: str) -> str:
        """See :class:`Writer`."""
        place, is_other = self._places.take(f"images/{split}/{file_name}")
        self.said["images renamed: another one has the name"] += is_other
        return place

    def add(self, split: str, record: ImageRecord) -> None:
        """See :class:`Writer`."""
        rows = []
        for box, label in zip(record.boxes[~record.crowd], record.labels[~record.crowd], strict=True):
            corners = [*box[:2], *(box[:2] + box[2:])]
            rows.append([record.place, *(_number(v, _PIXEL_DIGITS) for v in corners), self.class_names[label]])
        self.said[CROWDS_LEFT_OUT] += int(record.crowd.sum())
        csv.writer(self._file(split)).writerows(rows or [[record.place, "", "", "", "", ""]])

    def finish(self, datasets: dict[str, DetectionDataset]) -> None:
        """See :class:`Writer`."""
        for split in datasets:
            self._file(split).close()
        _write_classes(self.out, self.class_names)

    def _file(self, split: str) -> TextIO:
        if split not in self._files:
            self._files[split] = (self.out / f"{split}.csv").open("w", encoding="utf-8", newline="")
            csv.writer(self._files[split]).writerow(COLUMNS)
        return self._files[split]


CROWDS_LEFT_OUT = "crowd regions left out: the format has none, they become background"


def _child(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    node = ElementTree.SubElement(parent, tag)
    node.text = text
    return node


def _number(value: float, digits: int) -> str:
    """Write ``value`` to so many digits behind the point, without needless zeros and never as 1e-05."""
    text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _write_classes(out: Path, class_names: Sequence[str]) -> None:
    (out / CLASSES_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
