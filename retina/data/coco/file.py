"""A COCO annotation file, read in one pass: its columns and everything that is wrong with it, named by id and file."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retina.data import catalogue
from retina.data.annotations import (
    NO_ID,
    Annotations,
    OnBadBox,
    RawAnnotations,
    annotation_name,
    build_annotations,
    image_place,
    object_place,
    refuse_errors,
)
from retina.data.coco.columns import SECTIONS, CocoColumns, RecordPlace
from retina.data.coco.json_stream import JsonError, JsonStream
from retina.data.coco.records import is_whole, shortened
from retina.data.findings import Finding, Findings, Place
from retina.data.flat_text import FlatText
from retina.data.remote import read_chunks
from retina.errors import DataError

_TROUBLES = {"encoding": catalogue.FILE_NOT_UTF8, "end": catalogue.FILE_TRUNCATED, "syntax": catalogue.FILE_NOT_JSON}


def inspect_coco(path: str | Path, *, on_bad_box: OnBadBox = "clip") -> tuple[Annotations | None, tuple[Finding, ...]]:
    """Return what can be used of a COCO file and everything that was found in it, errors included.

    Nothing is raised for what is wrong with the file, and nothing is written. None: nothing can be used.
    """
    raw, findings, fingerprint = read_coco(path)
    if raw is None:
        return None, findings.all()
    annotations = build_annotations(raw, findings, source=str(path), fingerprint=fingerprint, on_bad_box=on_bad_box)
    return annotations, annotations.findings


def read_annotations(path: str | Path, *, on_bad_box: OnBadBox = "clip") -> Annotations:
    """Return the content of a COCO file, without a cache; DataError where there are errors among the findings."""
    annotations, findings = inspect_coco(path, on_bad_box=on_bad_box)
    refuse_errors(findings)
    if annotations is None:
        raise ValueError(f"{path} has neither content nor errors")
    return annotations


def read_coco(path: str | Path) -> tuple[RawAnnotations | None, Findings, str]:
    """Return what can be used of a COCO file, what is wrong with it, and its sha256; None where nothing can be used.

    Nothing is raised for what is wrong with the file. Memory is that of the columns and of one batch of records.
    """
    findings, digest, columns = Findings(str(path)), hashlib.sha256(), CocoColumns()
    stream = JsonStream(_hashed(path, digest))
    collecting = gc.isenabled()
    gc.disable()  # looking for cycles among millions of new objects that have none would take half the time
    try:
        for part in stream.parts():
            if part.key in SECTIONS:
                columns.sections[part.key] = "list" if part.in_list else type(part.value).__name__
                if part.in_list:
                    columns.add(part.key, part.value)
    except (OSError, DataError) as error:
        reason = error.what if isinstance(error, DataError) else error.strerror or str(error)
        findings.add(catalogue.FILE_UNREADABLE, reason)
    except JsonError as error:
        findings.add(_TROUBLES[error.trouble], str(error))
    finally:
        if collecting:
            gc.enable()
    if findings.counts:
        return None, findings, digest.hexdigest()
    if stream.has_mark:
        findings.add(catalogue.BYTE_ORDER_MARK)
    for name in stream.duplicate_keys:
        findings.add(catalogue.SECTION_TWICE, repr(name))
    return _Ending(columns, findings).content(), findings, digest.hexdigest()


def _hashed(path: str | Path, digest: Any) -> Iterator[bytes]:
    for chunk in read_chunks(path):
        digest.update(chunk)
        yield chunk


class _Ending:
    """What can be checked only when every section has been read, since they come in any order."""

    def __init__(self, columns: CocoColumns, findings: Findings) -> None:
        self.columns, self.findings = columns, findings
        self.image_ids = _taken(columns.image_ids, np.int64)
        self.file_names = FlatText.join(columns.file_names)
        self.image_order = np.argsort(self.image_ids, kind="stable")

    def content(self) -> RawAnnotations | None:
        """Return the columns without errors, all errors named; None where there are no images or no categories."""
        columns = self.columns
        self._check_sections()
        for fault, (count, places) in columns.problems.items():
            self.findings.add_some(fault, map(self._place, places), count)
        categories = sorted(columns.categories, key=lambda record: record["id"])
        self._check_ids(categories)
        if not categories or not len(self.image_ids):
            return None
        category_ids = np.array([record["id"] for record in categories])
        object_ids = _taken(columns.object_ids, np.int64)
        self.findings.add_each(
            catalogue.ANNOTATION_ID_TWICE, _repeated(object_ids), lambda i: annotation_name(int(object_ids[i]))
        )
        owner, labels, sound = self._references(object_ids, category_ids)
        boxes, areas = _taken(columns.boxes, np.float64, 4), _taken(columns.areas, np.float64)
        unknown = np.isnan(areas)
        with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite are left out later
            areas[unknown] = boxes[unknown, 2] * boxes[unknown, 3]
        parts = (owner, labels, boxes, areas, _taken(columns.crowd, np.bool_), object_ids)
        return RawAnnotations(
            tuple(category_ids.tolist()),
            tuple(record["name"] for record in categories),
            self.image_ids,
            self.file_names,
            _taken(columns.sizes, np.int64, 2),
            *(parts if sound.all() else (part[sound] for part in parts)),
        )

    def _references(self, object_ids: np.ndarray, category_ids: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return of each annotation the positions of its image and of its category, and whether both exist."""
        image_of, category_of = (_taken(part, np.int64) for part in (self.columns.image_of, self.columns.category_of))
        owner, has_image = _positions(image_of, self.image_ids, self.image_order)
        labels, has_category = _positions(category_of, category_ids, np.arange(len(category_ids)))
        for key, values, known, excused in (
            ("image_id", image_of, has_image, self.columns.left_out["images"]),
            ("category_id", category_of, has_category, self.columns.left_out["categories"]),
        ):
            # Whoever belongs to a record that has an error of its own is no error besides.
            wrong = [i for i in np.flatnonzero(~known).tolist() if int(values[i]) not in excused]

            def place(index: int, values: np.ndarray = values) -> Place:
                of_object = object_place(int(object_ids[index]), self._image(int(image_of[index])))
                return replace(of_object, text=f"{of_object} (found {values[index]})")

            self.findings.add_each(catalogue.unknown_reference(key), wrong, place)
        return owner, labels, has_image & has_category

    def _check_sections(self) -> None:
        for name in SECTIONS:
            kind = self.columns.sections.get(name)
            if kind is None:
                self.findings.add(catalogue.SECTION_MISSING, repr(name))
            elif kind != "list":
                self.findings.add(catalogue.SECTION_NOT_A_LIST, f"{name!r} is a {kind}")
        for name, empty in (("images", catalogue.NO_IMAGES), ("categories", catalogue.NO_CATEGORIES)):
            if self.columns.sections.get(name) == "list" and not self.columns.counts.get(name):
                self.findings.add(empty)

    def _place(self, met: RecordPlace) -> Place:
        record, number = met.record, f"number {met.number + 1}"
        own_id = record.get("id") if is_whole(record.get("id")) else None
        shown = shortened(record["id"]) if "id" in record else number
        if not record:
            place = Place(f"{met.section} {number}")
        elif met.section == "categories":
            place = Place(f"category {shown}")
        elif met.section == "images":
            place = Place(f"image {shown}" + (f" {record['file_name']!r}" if "file_name" in record else ""), own_id)
        else:
            image = self._image(record["image_id"]) if "image_id" in record else Place("")
            annotation = NO_ID + met.number if own_id is None else own_id
            place = Place(f"annotation {shown}" + (f", {image}" if image.text else ""), image.image_id, annotation)
        return replace(place, text=f"{place} ({met.found})") if met.found else place

    def _image(self, image_id: Any) -> Place:
        if not is_whole(image_id):
            return Place(f"image {shortened(image_id)}")
        place = np.searchsorted(self.image_ids, image_id, sorter=self.image_order)
        if place < len(self.image_ids) and self.image_ids[self.image_order[place]] == image_id:
            return image_place(image_id, self.file_names[int(self.image_order[place])])
        return Place(f"image {image_id}", image_id)

    def _check_ids(self, categories: Sequence[dict[str, Any]]) -> None:
        ids = np.array([record["id"] for record in categories], dtype=np.int64)
        for index in _repeated(ids):
            self.findings.add(catalogue.CATEGORY_ID_TWICE, f"category {ids[index]} {categories[int(index)]['name']!r}")
        for index in np.flatnonzero(ids == 0):
            self.findings.add(catalogue.CATEGORY_ID_ZERO, repr(categories[int(index)]["name"]))
        if len(ids) and (left_out := int(ids[-1]) - int(ids[0]) + 1 - len(np.unique(ids))):
            self.findings.add(catalogue.CATEGORY_ID_GAPS, count=left_out)
        self.findings.add_each(
            catalogue.IMAGE_ID_TWICE,
            _repeated(self.image_ids),
            lambda index: image_place(int(self.image_ids[index]), self.file_names[index]),
        )


def _taken(parts: list[np.ndarray], dtype: type, width: int | None = None) -> np.ndarray:
    """Return the arrays of ``parts`` as one and forget them, so that a column is in memory twice at most."""
    empty: np.ndarray = np.zeros(0 if width is None else (0, width), dtype)
    joined = np.concatenate([empty, *parts])
    parts.clear()
    return joined


def _positions(values: np.ndarray, known: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of ``values`` among ``known``, which ``order`` sorts, and whether they are there."""
    found = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
    return found, known[found] == values


def _repeated(ids: np.ndarray) -> np.ndarray:
    """Return the positions of ids that occur more than once."""
    ascending = np.sort(ids)
    twice = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])
    return np.flatnonzero(np.isin(ids, twice)) if len(twice) else twice
