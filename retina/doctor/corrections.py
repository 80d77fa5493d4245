"""What has one right answer in the records of a COCO file, corrected; every change is listed with its ids."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retina.data.box_checks import OUTSIDE_TOLERANCE, look_at_boxes, read_as_corners, read_as_relative
from retina.data.coco.records import box_of
from retina.errors import first_five

# Beyond this share of the images something else is wrong (the folder, most likely), so none is left out.
MAX_LEFT_OUT = 0.1
_RELATIVE, _CORNERS = "boxes turned from 0..1 into pixels", "boxes turned from [x1, y1, x2, y2] into widths and heights"
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)

Record = dict[str, Any]


@dataclass
class Corrected:
    """The corrected content and what was changed: a sentence and the ids it holds for."""

    content: dict[str, Any]
    changes: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def sentences(self) -> list[str]:
        """Return one line for each kind of change with the first five ids."""
        return [f"{len(ids)} {what}: {first_five(ids)}" for what, ids in self.changes.items()]


def correct(
    content: dict[str, Any], *, pixel_sizes: Mapping[int, tuple[int, int]], unreadable: Sequence[int] = ()
) -> Corrected:
    """Correct ``content`` in place: unknown keys and outlines stay, and so does the order of the records."""
    corrected = Corrected(content)
    for section in ("images", "categories", "annotations"):
        if not isinstance(content.get(section), list):
            return corrected  # there is no right answer
    for section in ("images", "categories"):
        content[section] = _unique_records(corrected, section)
    _drop_unreadable(corrected, set(unreadable))
    images = {record["id"]: record for record in content["images"] if type(record.get("id")) is int}
    known = {record["id"] for record in content["categories"] if type(record.get("id")) is int}
    kept = [record for record in content["annotations"] if _is_usable(corrected, record, images, known)]
    _convert_boxes(corrected, kept, images)
    _correct_sizes(corrected, kept, images, pixel_sizes)
    kept = [record for record in kept if _clip(corrected, record, images[record["image_id"]])]
    kept = _without_copies(corrected, kept)
    _complete(corrected, kept)
    content["annotations"] = kept
    return corrected


def _unique_records(corrected: Corrected, section: str) -> list[Any]:
    """Return the records with whole numbers for ids; one that is written twice word for word stays once."""
    kept: list[Any] = []
    seen: dict[Any, Record] = {}
    for record in corrected.content[section]:
        if not isinstance(record, dict):
            corrected.changes[f"entries of {section!r} that are no objects left out"].append(repr(record)[:40])
            continue
        for key in ("id", "height", "width") if section == "images" else ("id",):
            _make_whole(corrected, record, key, section)
        number = record.get("id")
        if isinstance(number, int) and number in seen and seen[number] == record:
            corrected.changes[f"{section} written twice, the second left out"].append(number)
            continue
        if isinstance(number, int):
            seen.setdefault(number, record)
        kept.append(record)
    return kept


def _make_whole(corrected: Corrected, record: Record, key: str, section: str) -> None:
    """Turn ``3.0`` and ``"3"`` into 3; whatever else stays."""
    value = record.get(key)
    whole = None
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        whole = int(value)
    if whole is not None and abs(whole) < 2**63:
        corrected.changes[f"{key!r} of {section} made whole numbers"].append(value)
        record[key] = whole


def _drop_unreadable(corrected: Corrected, unreadable: set[int]) -> None:
    images = corrected.content["images"]
    if not unreadable or len(unreadable) > max(1, MAX_LEFT_OUT * len(images)):
        return
    corrected.content["images"] = [record for record in images if record.get("id") not in unreadable]
    corrected.changes["images that cannot be read left out, with their objects"] += sorted(unreadable)
    corrected.content["annotations"] = [
        record
        for record in corrected.content["annotations"]
        if not (isinstance(record, dict) and _hashable(record.get("image_id")) in unreadable)
    ]


def _is_usable(corrected: Corrected, record: Any, images: Mapping[Any, Record], known: set[Any]) -> bool:
    """Tell whether an annotation stays, after making numbers of texts and a box of an outline."""
    if not isinstance(record, dict):
        corrected.changes["entries of 'annotations' that are no objects left out"].append(repr(record)[:40])
        return False
    for key in ("id", "image_id", "category_id"):
        _make_whole(corrected, record, key, "annotations")
    if _hashable(record.get("image_id")) not in images or _hashable(record.get("category_id")) not in known:
        corrected.changes["annotations of unknown images or categories left out"].append(record.get("id"))
        return False
    box = _numbers(record.get("bbox"))
    if box is None and record.get("bbox") is None and (outline := box_of(record)) is not None:
        corrected.changes["boxes made from the outline"].append(record.get("id"))
        box = outline
    elif box is not None and box != record["bbox"]:
        corrected.changes["boxes of text made of numbers"].append(record.get("id"))
    if box is None or min(box[2:]) <= 0:
        corrected.changes["boxes that cannot be used left out"].append(record.get("id"))
        return False
    if box != record.get("bbox"):
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


def _convert_boxes(corrected: Corrected, kept: Sequence[Record], images: Mapping[Any, Record]) -> None:
    """Turn boxes that are all in 0..1, or that are corners where sides are meant, into pixels and sides."""
    sized = [record for record in kept if _size(images[record["image_id"]]) is not None]
    if not sized:
        return
    boxes = np.array([record["bbox"] for record in sized], dtype=np.float64)
    sizes = np.array([_size(images[record["image_id"]]) for record in sized], dtype=np.float64)
    looks = look_at_boxes(boxes, np.arange(len(boxes)), sizes)
    if read_as_relative(looks):
        boxes, what = boxes * sizes[:, [1, 0, 1, 0]], _RELATIVE
    elif read_as_corners(looks).any():
        boxes, what = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), _CORNERS
    else:
        return
    for record, box in zip(sized, boxes.tolist(), strict=True):
        record["bbox"] = box
        record.pop("area", None)  # of the wrong box
        corrected.changes[what].append(record.get("id"))


def _correct_sizes(
    corrected: Corrected,
    kept: Sequence[Record],
    images: Mapping[Any, Record],
    pixel_sizes: Mapping[int, tuple[int, int]],
) -> None:
    """Take the pixels' word for the size of an image where all of its boxes fit and it is not merely turned."""
    reach: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in kept:
        x, y, width, height = record["bbox"]
        far = reach[record["image_id"]]
        far[0], far[1] = max(far[0], y + height), max(far[1], x + width)
    for number, (height, width) in pixel_sizes.items():
        image, far = images.get(number), reach[number]
        said = _size(image) if image else None
        if image is None or said == (width, height):  # turned: which of the two the boxes belong to is not known
            continue
        if far[0] <= height + OUTSIDE_TOLERANCE and far[1] <= width + OUTSIDE_TOLERANCE:
            image["height"], image["width"] = height, width
            corrected.changes["sizes of images corrected to their pixels"].append(number)


def _clip(corrected: Corrected, record: Record, image: Record) -> bool:
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
        corrected.changes["boxes outside of their image left out"].append(record.get("id"))
        return False
    record["bbox"] = [x, y, x2 - x, y2 - y]
    corrected.changes["boxes clipped to their image"].append(record.get("id"))
    return True


def _without_copies(corrected: Corrected, kept: Sequence[Record]) -> list[Record]:
    seen: set[tuple[Any, ...]] = set()
    unique = []
    for record in kept:
        key = (record["image_id"], record["category_id"], bool(record.get("iscrowd")), *record["bbox"])
        if key in seen:
            corrected.changes["boxes written twice, the second left out"].append(record.get("id"))
        else:
            seen.add(key)
            unique.append(record)
    return unique


def _complete(corrected: Corrected, kept: Sequence[Record]) -> None:
    """Give every annotation an id of its own, an area and a word on being a crowd."""
    ids = [record.get("id") for record in kept]
    largest, seen = max((number for number in ids if type(number) is int), default=0), set()
    for record in kept:
        number = record.get("id")
        if type(number) is not int or number in seen:
            largest += 1
            corrected.changes["annotations given an id of their own (the former ids)"].append(number)
            record["id"] = largest
        seen.add(record["id"])
        area = record.get("area")
        if type(area) not in (int, float) or not (math.isfinite(area) and area >= 0):  # type: ignore[arg-type, operator]
            record["area"] = record["bbox"][2] * record["bbox"][3]
            corrected.changes["areas computed from the box"].append(record["id"])
        if record.get("iscrowd") is None or isinstance(record["iscrowd"], bool):
            if "iscrowd" not in record or record["iscrowd"] is None:
                corrected.changes["'iscrowd' added as 0"].append(record["id"])
            record["iscrowd"] = int(bool(record.get("iscrowd")))


def _size(image: Record) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None


def _hashable(value: Any) -> Any:
    return value if type(value) is int else None
