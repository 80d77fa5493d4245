"""Writing a data set in each of the formats: COCO, Pascal VOC, YOLO and tables of boxes."""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import yaml

from retina.data.dataset import DetectionDataset
from retina.formats.csv_table import COLUMNS
from retina.formats.folder import CLASSES_FILE
from retina.formats.image_files import IMAGE_SUFFIXES
from retina.formats.voc import CORNERS
from retina.formats.yolo import label_places

# Pixels are written to 1e-4. Shares are written to 1e-10: of the widest image that cv2 decodes (2^20 pixels) that is
# 1e-4 pixels, too.
_PIXEL_DIGITS, _SHARE_DIGITS = 4, 10
CROWDS_LEFT_OUT = "crowd regions left out: the format has none, they become background"


@dataclass(frozen=True)
class ImageRecord:
    """One image with its boxes."""

    place: str  # where its file stands below the new folder
    size: tuple[int, int]  # (height, width)
    boxes: np.ndarray  # (n, 4) xywh
    labels: np.ndarray  # (n,)
    crowd: np.ndarray  # (n,) bool

    @classmethod
    def of(cls, dataset: DetectionDataset, index: int, place: str) -> ImageRecord:
        """Return image ``index`` of ``dataset``."""
        objects = slice(dataset.offsets[index], dataset.offsets[index + 1])
        height, width = dataset.sizes[index].tolist()
        return cls(place, (height, width), dataset.boxes[objects], dataset.labels[objects], dataset.crowd[objects])

    def objects(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield box and label of each object that is no crowd."""
        return zip(self.boxes[~self.crowd], self.labels[~self.crowd], strict=True)


class Writer(ABC):
    """Writes a data set into an empty folder: ``place`` for each image, ``write_split``, ``finish`` at the end.

    A class that is derived from it in this file is a format that ``to=`` offers.
    """

    name: ClassVar[str]  # as in to=
    keeps_numbers: ClassVar[bool] = False  # ids of images and categories, and areas
    writes_class_names: ClassVar[bool] = False  # one by one, as a line or an element, which lose spaces at their ends
    finds_images: ClassVar[bool] = True  # the format lists images by looking for them, so that some names are not found
    images: ClassVar[str] = "{split}"  # the folder of the images of a split

    def __init__(self, out: Path, class_names: Sequence[str], *, whole_pixels: bool = False) -> None:
        """Args: ``whole_pixels``: VOC: corners are rounded, as the format's own data sets have them."""
        self.out, self.class_names, self.whole_pixels = out, class_names, whole_pixels
        self.said: Counter[str] = Counter()  # what was written in another way, with how often
        self._taken: set[str] = set()

    def place(self, split: str, file_name: str) -> str:
        """Return where the file of an image is to stand, below the folder; no two images share their annotations."""
        wanted = f"{self.images.format(split=split)}/{file_name}"
        (stem, suffix), candidate, number = os.path.splitext(wanted), wanted, 1
        while self._key(candidate) in self._taken:
            number += 1
            candidate = f"{stem}_{number}{suffix}"
        self._taken.add(self._key(candidate))
        reason = "another one has the name" + (", but for its suffix" if self._key(wanted) != wanted else "")
        self.said[f"images renamed: {reason}"] += number > 1
        return candidate

    @abstractmethod
    def write_split(self, split: str, records: Iterable[ImageRecord], dataset: DetectionDataset) -> None:
        """Write the annotations of a split; each image is put into its place when its record is asked for."""

    def finish(self, splits: Sequence[str]) -> None:
        """Write what names splits and classes."""
        if self.writes_class_names:
            (self.out / CLASSES_FILE).write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")

    @classmethod
    def opened_by(cls, out: str, splits: Sequence[str]) -> str:
        """Return the settings that open the new data set in ``out``."""
        return f"dataset={cls.name} dataset.root={out}"

    @classmethod
    def unwritable(cls, dataset: DetectionDataset) -> list[str]:
        """Return the classes and images whose names would be others when they are read back, or would not be found."""
        names = dataset.class_names if cls.writes_class_names else ()
        problems = [f"class {name!r}" for name in names if _is_changed(name)]
        for name in dataset.file_names if not cls.keeps_numbers else ():
            hidden = cls.finds_images and (not name.lower().endswith(IMAGE_SUFFIXES) or "/." in f"/{name}")
            if hidden or _is_changed(name):
                problems.append(f"image {name!r}")
        return problems

    def _key(self, place: str) -> str:
        """Return what two images must not share: the place of their annotations."""
        return os.path.splitext(place)[0]


class CocoWriter(Writer):
    """``annotations/instances_<split>.json``, images below ``<split>/`` under their own names."""

    name = "coco"
    keeps_numbers = True

    def place(self, split: str, file_name: str) -> str:
        return f"{split}/{file_name}"  # two images may share a file

    def write_split(self, split: str, records: Iterable[ImageRecord], dataset: DetectionDataset) -> None:
        for _ in records:  # all that they say is in the ground truth
            pass
        file = self.out / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        with file.open("w", encoding="utf-8") as out:
            json.dump(dataset.ground_truth(), out, ensure_ascii=False)

    @classmethod
    def opened_by(cls, out: str, splits: Sequence[str]) -> str:
        files = (f"dataset.{s}.images={s} dataset.{s}.annotations=annotations/instances_{s}.json" for s in splits)
        return " ".join([f"dataset=custom dataset.root={out}", *files])


class VocWriter(Writer):
    """``Annotations/*.xml``, ``JPEGImages/``, ``ImageSets/Main/<split>.txt`` and ``classes.txt``."""

    name, images = "voc", "JPEGImages"
    writes_class_names = True

    def write_split(self, split: str, records: Iterable[ImageRecord], dataset: DetectionDataset) -> None:
        stems = []
        for record in records:
            stems.append(os.path.splitext(record.place.removeprefix("JPEGImages/"))[0])
            root = self._annotation(record)
            ElementTree.indent(root)
            file = self.out / "Annotations" / f"{stems[-1]}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
        listed = self.out / "ImageSets" / "Main" / f"{split}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")

    def _annotation(self, record: ImageRecord) -> ElementTree.Element:
        height, width = record.size
        objects = [
            self._object(box, self.class_names[label], is_crowd=bool(crowd))
            for box, label, crowd in zip(record.boxes, record.labels, record.crowd, strict=True)
        ]
        size = _element("size", _element("width", width), _element("height", height), _element("depth", 3))
        names = (_element("folder", "JPEGImages"), _element("filename", os.path.basename(record.place)))
        return _element("annotation", *names, size, *objects)

    def _object(self, box: np.ndarray, class_name: str, *, is_crowd: bool) -> ElementTree.Element:
        self.said["crowd regions written as difficult objects, which are read back as crowd regions"] += is_crowd
        # The first pixel is 1, and xmax, ymax are inside the box.
        corners = [float(value) for value in (box[0] + 1, box[1] + 1, box[0] + box[2], box[1] + box[3])]
        if self.whole_pixels:
            x1, y1, x2, y2 = map(round, corners)
            corners = [x1, y1, max(x2, x1), max(y2, y1)]
        fractional = any(_number(value, _PIXEL_DIGITS) != str(round(value)) for value in corners)
        self.said["boxes written with fractions of a pixel (round=true writes whole pixels)"] += fractional
        sides = [_element(name, _number(value, _PIXEL_DIGITS)) for name, value in zip(CORNERS, corners, strict=True)]
        names = (_element("name", class_name), _element("difficult", int(is_crowd)))
        return _element("object", *names, _element("bndbox", *sides))


class YoloWriter(Writer):
    """``images/<split>/``, ``labels/<split>/*.txt`` and ``data.yaml``."""

    name, images = "yolo", "images/{split}"

    def write_split(self, split: str, records: Iterable[ImageRecord], dataset: DetectionDataset) -> None:
        for record in records:
            file = self.out / self._key(record.place)
            file.parent.mkdir(parents=True, exist_ok=True)
            sides = np.array([record.size[1], record.size[0]] * 2, dtype=np.float64)
            lines = []
            for box, label in record.objects():
                shares = np.concatenate([box[:2] + box[2:] / 2, box[2:]]) / sides
                lines.append(" ".join([str(label), *(_number(value, _SHARE_DIGITS) for value in shares)]) + "\n")
            self.said[CROWDS_LEFT_OUT] += int(record.crowd.sum())
            file.write_text("".join(lines), encoding="utf-8")  # empty where there are no objects

    def finish(self, splits: Sequence[str]) -> None:
        content = {split: f"images/{split}" for split in splits}
        names = dict(enumerate(self.class_names))
        text = yaml.safe_dump({**content, "names": names}, allow_unicode=True, sort_keys=False)
        (self.out / "data.yaml").write_text(text, encoding="utf-8")

    def _key(self, place: str) -> str:
        return label_places(f"/{place}")[0].lstrip("/")


class CsvWriter(Writer):
    """``<split>.csv`` with a header, ``images/<split>/`` and ``classes.txt``."""

    name, images = "csv", "images/{split}"
    writes_class_names = True
    finds_images = False

    def write_split(self, split: str, records: Iterable[ImageRecord], dataset: DetectionDataset) -> None:
        with (self.out / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for record in records:
                rows = []
                for box, label in record.objects():
                    corners = [_number(value, _PIXEL_DIGITS) for value in (*box[:2], *(box[:2] + box[2:]))]
                    rows.append([record.place, *corners, self.class_names[label]])
                self.said[CROWDS_LEFT_OUT] += int(record.crowd.sum())
                table.writerows(rows or [[record.place, "", "", "", "", ""]])

    def _key(self, place: str) -> str:
        return place


WRITERS: dict[str, type[Writer]] = {writer.name: writer for writer in Writer.__subclasses__()}


def _element(tag: str, *content: ElementTree.Element | str | int) -> ElementTree.Element:
    """Return the element that holds other elements, or a text."""
    node = ElementTree.Element(tag)
    for part in content:
        if isinstance(part, ElementTree.Element):
            node.append(part)
        else:
            node.text = str(part)
    return node


def _number(value: float, digits: int) -> str:
    """Write ``value`` to so many digits behind the point, without needless zeros and never as 1e-05."""
    text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _is_changed(name: str) -> bool:
    """Return whether ``name`` would be another one when it is read back from a line or an element."""
    return name != name.strip() or not name.isprintable()
