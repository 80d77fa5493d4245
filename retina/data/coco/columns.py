"""The columns of a COCO file, filled batch by batch; what is wrong is remembered and named once everything is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from retina.data.annotations import NO_ID
from retina.data.catalogue import ANNOTATION_ID_UNUSABLE, AREA_ASSUMED
from retina.data.coco.json_stream import DUPLICATE_KEYS
from retina.data.coco.records import Problem, box_of, check_annotation, check_category, check_image, is_whole
from retina.data.file_names import leaves_folder
from retina.data.findings import Fault
from retina.data.flat_text import FlatText
from retina.errors import NUM_SHOWN

SECTIONS = ("images", "annotations", "categories")


class _NotSound(Exception):
    """A batch of records that has to be looked at one by one."""


@dataclass
class RecordPlace:
    """Where something was found: the number of the record in its section and what the record says of itself."""

    section: str
    number: int
    record: Any
    found: str


@dataclass
class CocoColumns:
    """Lists of arrays, one for each batch of records."""

    categories: list[dict[str, Any]] = field(default_factory=list)
    image_ids: list[np.ndarray] = field(default_factory=list)
    file_names: list[FlatText] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)  # (height, width)
    object_ids: list[np.ndarray] = field(default_factory=list)  # NO_ID + number where an annotation has none
    image_of: list[np.ndarray] = field(default_factory=list)  # image ids
    category_of: list[np.ndarray] = field(default_factory=list)  # category ids
    boxes: list[np.ndarray] = field(default_factory=list)
    areas: list[np.ndarray] = field(default_factory=list)  # NaN where there is none
    crowd: list[np.ndarray] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)  # those met, with the type of their value
    left_out: dict[str, set[int]] = field(default_factory=lambda: {"images": set(), "categories": set()})  # their ids
    counts: dict[str, int] = field(default_factory=dict)  # records met, with those that are left out
    problems: dict[Fault, tuple[int, list[RecordPlace]]] = field(default_factory=dict)  # count, first places

    def add(self, section: str, records: Sequence[Any]) -> None:
        """Take over the next ``records`` of ``section``."""
        read = {"images": self._images, "annotations": self._annotations, "categories": self._categories}[section]
        number = self.counts.get(section, 0)
        if records:
            read(records, number)
        self.counts[section] = number + len(records)

    def remember(self, fault: Fault, place: RecordPlace) -> None:
        """Count one more of ``fault``; the place is kept if it is among the first."""
        count, places = self.problems.get(fault, (0, []))
        if len(places) < NUM_SHOWN:
            names = ("id", "image_id", "file_name", "name")
            record = place.record if isinstance(place.record, dict) else {}
            place.record = {key: record[key] for key in names if key in record}
            places.append(place)
        self.problems[fault] = (count + 1, places)

    def _sound(self, section: str, records: Sequence[Any], number: int, check: Callable[[Any], list[Problem]]) -> Any:
        """Return (number, record) of what can be used, and remember what is wrong with the others."""
        sound = []
        for index, record in enumerate(records, start=number):
            problems = check(record)
            for fault, found in problems:
                self.remember(fault, RecordPlace(section, index, record, found))
            if not any(fault.severity == "error" for fault, _ in problems):
                sound.append((index, record))
            elif section in self.left_out and isinstance(record, dict) and is_whole(record.get("id")):
                self.left_out[section].add(record["id"])
        return sound

    def _categories(self, records: Sequence[Any], number: int) -> None:
        for _, record in self._sound("categories", records, number, check_category):
            self.categories.append({"id": record["id"], "name": record["name"]})

    def _images(self, records: Sequence[Any], number: int) -> None:
        try:
            columns = _image_columns(records)
        except (_NotSound, KeyError, TypeError, OverflowError, UnicodeEncodeError):
            sound = self._sound("images", records, number, check_image)
            columns = _image_columns([record for _, record in sound])
        for column, part in zip((self.image_ids, self.file_names, self.sizes), columns, strict=True):
            column.append(part)  # type: ignore[attr-defined]

    def _annotations(self, records: Sequence[Any], number: int) -> None:
        try:
            columns = _annotation_columns(records)
        except (_NotSound, KeyError, TypeError, ValueError, OverflowError):
            columns = _checked_columns(self._sound("annotations", records, number, check_annotation))
        parts = (self.object_ids, self.image_of, self.category_of, self.boxes, self.areas, self.crowd)
        for column, part in zip(parts, columns, strict=True):
            column.append(part)


def _image_columns(records: Sequence[Any]) -> tuple[np.ndarray, FlatText, np.ndarray]:
    _require(_types(records) <= {dict} and not any(DUPLICATE_KEYS in record for record in records))
    names = [record["file_name"] for record in records]
    _require(_types(names) <= {str} and not any(map(leaves_folder, names)))
    ids, heights, widths = (_whole([record[key] for record in records]) for key in ("id", "height", "width"))
    sizes = np.stack([heights, widths], axis=1)
    _require(bool((sizes >= 1).all()))
    return ids, FlatText(names), sizes


def _annotation_columns(records: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """Return the columns of annotations, or raise where one of them has to be looked at on its own."""
    _require(_types(records) <= {dict} and not any(DUPLICATE_KEYS in record for record in records))
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    ids, images, categories, rows, areas, crowd = ([record[key] for record in records] for key in keys)
    _require(_types(rows) <= {list} and set(map(len, rows)) <= {4})
    values = list(chain.from_iterable(rows))
    _require(_types(values) | _types(areas) <= {int, float} and _types(crowd) <= {int} and set(crowd) <= {0, 1})
    columns = _whole(ids), _whole(images), _whole(categories), *_measures(values, areas, crowd)
    _require(bool((np.abs(columns[3]) < 2.0**63).all()))
    _require(bool(((columns[4] >= 0) & np.isfinite(columns[4])).all()))
    return columns


def _checked_columns(numbered: Sequence[tuple[int, dict[str, Any]]]) -> tuple[np.ndarray, ...]:
    """Return the columns of (number, annotation) without errors; those without a usable box are left out."""
    rows = []
    for number, record in numbered:
        if box := box_of(record):
            found = {fault for fault, _ in check_annotation(record)}
            object_id = NO_ID + number if ANNOTATION_ID_UNUSABLE in found else record["id"]
            area = np.nan if AREA_ASSUMED in found else record["area"]
            crowd = bool(record.get("iscrowd", 0))
            rows.append((object_id, record["image_id"], record["category_id"], box, area, crowd))
    ids, images, categories, boxes, areas, crowds = zip(*rows, strict=True) if rows else ((),) * 6
    values = list(chain.from_iterable(boxes))
    return _whole(ids), _whole(images), _whole(categories), *_measures(values, areas, crowds)


def _measures(values: Sequence[float], areas: Sequence[float], crowd: Sequence[int]) -> tuple[np.ndarray, ...]:
    boxes = np.array(values, dtype=np.float64).reshape(-1, 4)
    return boxes, np.array(areas, dtype=np.float64), np.array(crowd, dtype=bool)


def _whole(values: Sequence[Any]) -> np.ndarray:
    _require(_types(values) <= {int})  # True is a number to numpy
    return np.array(values, dtype=np.int64)


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


def _require(sound: bool) -> None:
    if not sound:
        raise _NotSound
