"""What can be wrong with one record of a COCO file, whatever stands in the others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from retina.data import catalogue
from retina.data.coco.json_stream import DUPLICATE_KEYS
from retina.data.file_names import leaves_folder
from retina.data.findings import Fault

Problem = tuple[Fault, str]  # what is wrong, and what was found: "found '40'"


def check_category(record: Any) -> list[Problem]:
    """Return what is wrong with an entry of ``categories``; nothing where it is sound."""
    if found := _check_shape("categories", record):
        return found
    found = _check_whole("categories", record, "id")
    # Halves of characters, which JSON can escape, cannot be written.
    if not isinstance(record["name"], str) or re.search("[\ud800-\udfff]", record["name"]):
        found.append((catalogue.not_text("categories", "name"), _found(record["name"])))
    return found


def check_image(record: Any) -> list[Problem]:
    """Return what is wrong with an entry of ``images``; nothing where it is sound."""
    if found := _check_shape("images", record):
        return found
    found = _check_whole("images", record, "id", "height", "width")
    if not isinstance(record["file_name"], str):
        found.append((catalogue.not_text("images", "file_name"), _found(record["file_name"])))
    elif leaves_folder(record["file_name"]):
        found.append((catalogue.FILE_NAME_LEAVES_FOLDER, ""))
    if not found and (record["height"] < 1 or record["width"] < 1):
        found.append((catalogue.IMAGE_SIZE_NOT_POSITIVE, f"found {record['width']} x {record['height']}"))
    return found


def check_annotation(record: Any) -> list[Problem]:
    """Return what is wrong with or assumed of an entry of ``annotations``; nothing where it is sound."""
    if found := _check_shape("annotations", record):
        return found
    if not is_whole(record.get("id")):
        found.append((catalogue.ANNOTATION_ID_UNUSABLE, _found(record["id"]) if "id" in record else ""))
    found += _check_whole("annotations", record, "image_id", "category_id")
    if box_of(record) is None:
        found.append((catalogue.BOX_MALFORMED, _found(record["bbox"])))
    elif record.get("bbox") is None:
        found.append((catalogue.BOX_FROM_POLYGON, ""))
    area = record.get("area")
    if not (is_number(area) and 0 <= area < math.inf):
        found.append((catalogue.AREA_ASSUMED, _found(area) if "area" in record else ""))
    if "iscrowd" not in record:
        found.append((catalogue.ISCROWD_ASSUMED, ""))
    elif not isinstance(record["iscrowd"], int | float) or record["iscrowd"] not in (0, 1):
        found.append((catalogue.ISCROWD_NOT_0_OR_1, _found(record["iscrowd"])))
    return found


CHECKS = {"images": check_image, "annotations": check_annotation, "categories": check_category}


def box_of(record: Mapping[str, Any]) -> list[float] | None:
    """Return xywh of an annotation, from its polygon where it has no ``bbox``; None where that is not four numbers."""
    box = record.get("bbox")
    if box is None:
        return _polygon_extent(record.get("segmentation"))
    if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)):
        return [float(value) for value in box]
    return None


def is_whole(value: object) -> bool:
    """Return whether ``value`` is a whole number of 64 bits; True and 1.0 are not."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: object) -> bool:
    """Return whether ``value`` is a number that float64 can hold; NaN and infinity are."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _check_shape(section: str, record: Any) -> list[Problem]:
    if not isinstance(record, dict):
        return [(catalogue.not_an_object(section), _found(record))]
    if DUPLICATE_KEYS in record:
        return [(catalogue.duplicate_keys(section), ", ".join(map(repr, record[DUPLICATE_KEYS])))]
    missing = [key for key in catalogue.REQUIRED[section] if key not in record]
    if section == "annotations" and "bbox" in missing and box_of(record) is not None:
        missing.remove("bbox")
    return [(catalogue.without_key(section, key), "") for key in missing]


def _check_whole(section: str, record: Mapping[str, Any], *keys: str) -> list[Problem]:
    return [(catalogue.not_whole(section, key), _found(record[key])) for key in keys if not is_whole(record[key])]


def _polygon_extent(outline: Any) -> list[float] | None:
    if not isinstance(outline, list) or not outline:
        return None
    if not all(isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in outline):
        return None
    values = [value for part in outline for value in part]
    if not all(is_number(value) and math.isfinite(value) for value in values):
        return None
    xs, ys = values[::2], values[1::2]  # each part has as many of both
    return [float(min(xs)), float(min(ys)), float(max(xs) - min(xs)), float(max(ys) - min(ys))]


def shortened(value: Any) -> str:
    """Return ``value`` as Python writes it, cut to 40 characters."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _found(value: Any) -> str:
    return f"found {shortened(value)}"
