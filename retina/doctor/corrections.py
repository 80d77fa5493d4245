"""What has one right answer in the records of a COCO file, corrected; every change is listed with its ids."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retina.data.box_checks import OUTSIDE_TOLERANCE, look_at_boxes, read_as_corners, read_as_relative
from retina.data.coco.records import box_of, is_number

# Beyond this share of the images something else is wrong (the folder, most likely), so none is left out.
MAX_LEFT_OUT = 0.1
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)

Record = dict[str, Any]
Changes = dict[str, list[Any]]  # what was changed, in words, and the ids that it holds for


def correct(
    content: dict[str, Any], *, pixel_sizes: Mapping[int, tuple[int, int]], unreadable: Sequence[int] = ()
) -> Changes:
    """Correct ``content`` of a COCO file in place and return the changes; unknown keys, outlines and the order stay.

    ``pixel_sizes`` are (height, width), by id, of images whose files have another size than the annotations say;
    ``unreadable`` are the ids of images that cannot be read.
    """
    changes: Changes = defaultdict(list)
    if not all(isinstance(content.get(section), list) for section in ("images", "categories", "annotations")):
        return changes  # there is no right answer
    for section in ("images", "categories"):
        content[section] = _unique_records(changes, content[section], section)
    lost = set(unreadable) if len(unreadable) <= max(1, MAX_LEFT_OUT * len(content["images"])) else set()
    if lost:
        content["images"] = [record for record in content["images"] if record.get("id") not in lost]
        changes["images that cannot be read left out, with their objects"] += sorted(lost)
    images = {record["id"]: record for record in content["images"] if type(record.get("id")) is int}
    known = {record["id"] for record in content["categories"] if type(record.get("id")) is int}
    kept = [
        record
        for record in content["annotations"]
        if not (isinstance(record, dict) and _whole(record.get("image_id")) in lost)
        and _is_usable(changes, record, images, known)
    ]
    _convert_boxes(changes, kept, images)
    _correct_sizes(changes, kept, images, pixel_sizes)
    kept = [record for record in kept if _clip(changes, record, images[record["image_id"]])]
    kept = _without_copies(changes, kept)
    _complete(changes, kept)
    content["annotations"] = kept
    return changes


def _unique_records(changes: Changes, records: Sequence[Any], section: str) -> list[Record]:
    """Return the records with whole numbers for ids; one that is written twice word for word stays once."""
    kept: list[Record] = []
    seen: dict[int, Record] = {}
    for record in records:
        if not isinstance(record, dict):
            changes[f"entries of {section!r} that are no objects left out"].append(repr(record)[:40])
            continue
        for key in ("id", "height", "width") if section == "images" else ("id",):
            _make_whole(changes, record, key, section)
        number = record.get("id")
        if isinstance(number, int) and seen.setdefault(number, record) is not record and seen[number] == record:
            changes[f"{section} written twice, the second left out"].append(number)
        else:
            kept.append(record)
    return kept


def _make_whole(changes: Changes, record: Record, key: str, section: str) -> None:
    """Turn ``3.0`` and ``"3"`` into 3; whatever else stays."""
    value: Any = record.get(key)
    is_number = isinstance(value, float) and value.is_integer()
    if (is_number or (isinstance(value, str) and _WHOLE.fullmatch(value))) and abs(int(value)) < 2**63:
        changes[f"{key!r} of {section} made whole numbers"].append(value)
        record[key] = int(value)


def _is_usable(changes: Changes, record: Any, images: Mapping[int, Record], known: set[int]) -> bool:
    """Return whether an annotation stays, after making numbers of texts and a box of an outline."""
    if not isinstance(record, dict):
        changes["entries of 'annotations' that are no objects left out"].append(repr(record)[:40])
        return False
    for key in ("id", "image_id", "category_id"):
        _make_whole(changes, record, key, "annotations")
    number = record.get("id")
    if _whole(record.get("image_id")) not in images or _whole(record.get("category_id")) not in known:
        changes["annotations of unknown images or categories left out"].append(number)
        return False
    box = _numbers(record.get("bbox"))
    if box is None and record.get("bbox") is None and (outline := box_of(record)) is not None:
        changes["boxes made from the outline"].append(number)
        box = outline
    elif box is not None and box != record["bbox"]:
        changes["boxes of text made of numbers"].append(number)
    if box is None or min(box[2:]) <= 0:
        changes["boxes that cannot be used left out"].append(number)
        return False
    record["bbox"] = box
    return True


def _numbers(value: Any) -> list[float] | None:
    """Return four finite numbers, also of texts; None where they are something else."""
    if not isinstance(value, list) or len(value) != 4 or any(isinstance(item, bool) for item in value):
        return None
    try:
        numbers = [float(item) if isinstance(item, str) else item for item in value]
        return numbers if all(math.isfinite(item) for item in numbers) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _convert_boxes(changes: Changes, kept: Sequence[Record], images: Mapping[int, Record]) -> None:
    """Turn boxes that are all in 0..1, or that are corners where sides are meant, into pixels and sides."""
    sized = [record for record in kept if _size(images[record["image_id"]]) is not None]
    if not sized:
        return
    boxes = np.array([record["bbox"] for record in sized], dtype=np.float64)
    sizes = np.array([_size(images[record["image_id"]]) for record in sized], dtype=np.float64)
    looks = look_at_boxes(boxes, np.arange(len(boxes)), sizes)
    if read_as_relative(looks):
        boxes, what = boxes * sizes[:, [1, 0, 1, 0]], "boxes turned from 0..1 into pixels"
    elif read_as_corners(looks).any():
        boxes[:, 2:] -= boxes[:, :2]
        what = "boxes turned from [x1, y1, x2, y2] into widths and heights"
    else:
        return
    for record, box in zip(sized, boxes.tolist(), strict=True):
        record["bbox"] = box
        record.pop("area", None)  # of the wrong box
        changes[what].append(record.get("id"))


def _correct_sizes(
    changes: Changes, kept: Sequence[Record], images: Mapping[int, Record], pixel_sizes: Mapping[int, tuple[int, int]]
) -> None:
    """Take the pixels' word for the size of an image where all of its boxes fit and it is not merely turned."""
    reach: dict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for record in kept:
        (x, y, width, height), (bottom, right) = record["bbox"], reach[record["image_id"]]
        reach[record["image_id"]] = max(bottom, y + height), max(right, x + width)
    for number, (height, width) in pixel_sizes.items():
        image, (bottom, right) = images.get(number), reach[number]
        if image is None or _size(image) == (width, height):  # turned: nobody knows which of the two the boxes are of
            continue
        if bottom <= height + OUTSIDE_TOLERANCE and right <= width + OUTSIDE_TOLERANCE:
            image["height"], image["width"] = height, width
            changes["sizes of images corrected to their pixels"].append(number)


def _clip(changes: Changes, record: Record, image: Record) -> bool:
    """Clip the box of ``record`` to its image; False where nothing is left of it."""
    size = _size(image)
    if size is None:
        return True
    x, y, width, height = record["bbox"]
    x2, y2 = min(x + width, size[1]), min(y + height, size[0])
    inside = x >= -OUTSIDE_TOLERANCE and y >= -OUTSIDE_TOLERANCE
    if inside and x + width <= size[1] + OUTSIDE_TOLERANCE and y + height <= size[0] + OUTSIDE_TOLERANCE:
        return True
    x, y = max(x, 0), max(y, 0)
    if x2 <= x or y2 <= y:
        changes["boxes outside of their image left out"].append(record.get("id"))
        return False
    record["bbox"] = [x, y, x2 - x, y2 - y]
    changes["boxes clipped to their image"].append(record.get("id"))
    return True


def _without_copies(changes: Changes, kept: Sequence[Record]) -> list[Record]:
    unique: dict[tuple[Any, ...], Record] = {}
    for record in kept:
        key = (record["image_id"], record["category_id"], bool(record.get("iscrowd")), *record["bbox"])
        if unique.setdefault(key, record) is not record:
            changes["boxes written twice, the second left out"].append(record.get("id"))
    return list(unique.values())


def _complete(changes: Changes, kept: Sequence[Record]) -> None:
    """Give every annotation an id of its own, an area and a word on being a crowd."""
    ids = [record.get("id") for record in kept]
    largest, seen = max((number for number in ids if type(number) is int), default=0), set()
    for record in kept:
        number = record.get("id")
        if type(number) is not int or number in seen:
            largest += 1
            changes["annotations given an id of their own (the former ids)"].append(number)
            record["id"] = largest
        seen.add(record["id"])
        area: Any = record.get("area")
        if not (is_number(area) and 0 <= area < math.inf):
            record["area"] = record["bbox"][2] * record["bbox"][3]
            changes["areas computed from the box"].append(record["id"])
        if record.get("iscrowd") is None:
            changes["'iscrowd' added as 0"].append(record["id"])
        if record.get("iscrowd") is None or isinstance(record["iscrowd"], bool):
            record["iscrowd"] = int(bool(record.get("iscrowd")))


def _size(image: Record) -> tuple[int, int] | None:
    height, width = _whole(image.get("height")), _whole(image.get("width"))
    return (height, width) if height and width and height > 0 and width > 0 else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
