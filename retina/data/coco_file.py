"""Reading the columns of a COCO annotation file, with every mistake told by file, id and file name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retina.data.images import leaves_folder
from retina.errors import DataError, first_five


class CocoFile:
    """One parsed file and the ways to read its columns with errors that name the records."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.names: dict[int, str] = {}  # image id -> file name, for messages

    def error(self, what: str, places: Sequence[str] = (), *, why: str = "", fix: str = "") -> DataError:
        """Return the error ``what: file [places]``."""
        where = f" [{first_five(places)}]" if places else ""
        return DataError(f"{what}: {self.path}{where}", why=why, fix=fix)

    def place(self, section: str, index: int) -> str:
        """Return how a message names record ``index`` of ``section``."""
        record = self.content[section][index]
        if not isinstance(record, dict):
            return f"{section} number {index + 1}"
        shown = str(record["id"]) if "id" in record else f"number {index + 1}"
        if section == "categories":
            return f"category {shown}"
        if section == "images":
            return f"image {shown}" + (f" {record['file_name']!r}" if "file_name" in record else "")
        image_id = record.get("image_id")
        name = self.names.get(image_id) if isinstance(image_id, int) else None
        return f"annotation {shown}, image {image_id}" + (f" {name!r}" if name is not None else "")

    def places(self, section: str, is_wrong: Callable[[dict[str, Any]], bool]) -> list[str]:
        """Name every record of ``section`` that is wrong."""
        records = enumerate(self.content[section])
        return [self.place(section, i) for i, record in records if is_wrong(record)]

    def ids(self, mask: np.ndarray) -> str:
        """Name the annotations where ``mask`` holds, the first five and their number."""
        return first_five([self.place("annotations", int(index)) for index in np.flatnonzero(mask)])

    def records(self, section: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the list of records of ``section``, each checked to be an object with ``keys``."""
        records = self.content.get(section)
        if not isinstance(records, list):
            found = "is missing" if section not in self.content else f"is a {type(records).__name__}, not a list"
            raise self.error(
                f"{section!r} {found}",
                why="a COCO annotation file is an object with the lists 'images', 'annotations' and 'categories'",
                fix="give the annotation file of the data set (instances_*.json)",
            )
        if places := self.places(section, lambda record: not isinstance(record, dict)):
            raise self.error(f"{section!r} holds something that is not an object", places)
        for key in keys:
            if places := self.places(section, lambda record, key=key: key not in record):  # type: ignore[misc]
                raise self.error(f"{section!r} without {key!r}", places, fix=f"write {key!r} into every record")
        return records

    def integers(self, section: str, key: str) -> np.ndarray:
        """Return the ``(n,)`` int64 column ``key`` of ``section``."""
        values = [record[key] for record in self.content[section]]
        whole = [type(value) is int and -(2**63) <= value < 2**63 for value in values]
        if not all(whole):
            index = whole.index(False)
            places = [self.place(section, i) for i, fine in enumerate(whole) if not fine]
            raise self.error(f"{key!r} of {section!r} must be a whole number, found {values[index]!r}", places)
        return np.array(values, dtype=np.int64)

    def unique_ids(self, section: str) -> np.ndarray:
        """Return the ids of ``section``, each checked to occur once."""
        ids = self.integers(section, "id")
        unique, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            twice = np.flatnonzero(np.isin(ids, unique[counts > 1]))
            raise self.error(
                f"{section!r} have the same id more than once",
                [self.place(section, int(index)) for index in twice],
                why="objects could not be told apart",
                fix="give every record its own id",
            )
        return ids

    def categories(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the category ids, ascending, and the names of the classes in the same order."""
        records = self.records("categories", ("id", "name"))
        ids = self.unique_ids("categories")
        if not records:
            raise self.error("there are no categories", why="without classes there is nothing to detect")
        if places := self.places("categories", lambda record: not isinstance(record["name"], str)):
            raise self.error("'name' of 'categories' must be text", places)
        order = np.argsort(ids)
        return tuple(int(ids[i]) for i in order), tuple(records[i]["name"] for i in order)

    def images(self) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Return image ids, file names and ``(n, 2)`` sizes (height, width)."""
        records = self.records("images", ("id", "file_name", "height", "width"))
        ids = self.unique_ids("images")
        if not records:
            raise self.error("there are no images", fix="give an annotation file that lists images")
        if places := self.places("images", lambda record: not isinstance(record["file_name"], str)):
            raise self.error("'file_name' of 'images' must be text", places)
        if places := self.places("images", lambda record: leaves_folder(record["file_name"])):
            raise self.error(
                "file names that leave the folder of images",
                places,
                why="only files inside the given folder are opened, whatever an annotation file says",
                fix="write names relative to the folder, without '..'",
            )
        sizes = np.stack([self.integers("images", "height"), self.integers("images", "width")], axis=1)
        if places := [self.place("images", int(i)) for i in np.flatnonzero((sizes < 1).any(axis=1))]:
            raise self.error("'height' and 'width' of 'images' must be at least 1", places)
        names = [record["file_name"] for record in records]
        self.names = dict(zip(ids.tolist(), names, strict=True))
        return ids, names, sizes

    def positions(self, key: str, known: np.ndarray, section: str) -> np.ndarray:
        """Return for each annotation the position of its ``key`` among the ids ``known`` of ``section``."""
        values = self.integers("annotations", key)
        order = np.argsort(known)
        found = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
        if places := [self.place("annotations", int(i)) for i in np.flatnonzero(known[found] != values)]:
            index = int(np.flatnonzero(known[found] != values)[0])
            raise self.error(
                f"{key!r} of 'annotations' is not among the {section!r}, found {values[index]}",
                places,
                why=f"every object belongs to one of the {section!r} of its file",
                fix=f"add the missing record to {section!r}, or take the annotation out",
            )
        return found

    def boxes(self) -> np.ndarray:
        """Return ``(m, 4)`` float64 boxes as in the file; the values are not checked."""
        rows = [record["bbox"] for record in self.content["annotations"]]
        places = [self.place("annotations", i) for i, row in enumerate(rows) if not _is_four_numbers(row)]
        if places:
            raise self.error("'bbox' must be four numbers [x, y, width, height]", places)
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def areas(self, boxes: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return ``(m,)`` areas as in the file, width x height where there is none, and what was assumed."""
        values = [record.get("area") for record in self.content["annotations"]]
        areas = np.array([value if _is_number(value) else np.nan for value in values], dtype=np.float64)
        unknown = ~(np.isfinite(areas) & (areas >= 0))
        if not unknown.any():
            return areas, []
        with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite are left out later
            areas[unknown] = boxes[unknown, 2] * boxes[unknown, 3]
        return areas, [f"{unknown.sum()} annotations without a usable 'area': width x height of the box is taken"]

    def crowd(self) -> np.ndarray:
        """Return ``(m,)`` whether an annotation is a crowd; one that does not say is none."""
        values = [record.get("iscrowd", 0) for record in self.content["annotations"]]
        if places := [self.place("annotations", i) for i, value in enumerate(values) if value not in (0, 1)]:
            raise self.error("'iscrowd' must be 0 or 1", places)
        return np.array(values, dtype=bool)


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """Return the content of an annotation file and the sha256 of its bytes; DataError where it is not a JSON object."""
    fix = "give the annotation file of the data set (instances_*.json)"
    if path.exists() and not path.is_file():
        raise DataError(f"the annotation file is not a regular file: {path}", fix=fix)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"the annotation file cannot be read ({error.strerror}): {path}", fix=fix) from None
    fingerprint = hashlib.sha256(raw).hexdigest()
    try:
        text = raw.decode("utf-8-sig")
        del raw  # COCO's training file is 450 MB, and its text as much again
        # Outlines are most of a COCO file and are not needed: forgotten while it is parsed, they take no memory.
        content = json.loads(text, object_hook=_without_outline)
    except UnicodeDecodeError as error:
        raise DataError(f"the annotation file is not UTF-8 text (byte {error.start}): {path}", fix=fix) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the annotation file is not JSON ({error}): {path}", fix=fix) from None
    if not isinstance(content, dict):
        why = "a COCO annotation file is an object; a list is how detections are written"
        raise DataError(f"the annotation file holds a {type(content).__name__}: {path}", why=why, fix=fix)
    return content, fingerprint


def _without_outline(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)
    return record


def _is_number(value: object) -> bool:
    # Whole numbers of more than 64 bits are legal JSON, yet no float64.
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _is_four_numbers(row: object) -> bool:
    return isinstance(row, list) and len(row) == 4 and all(map(_is_number, row))
