"""One record of a COCO file: what is wrong with it, told by kind."""

from __future__ import annotations

import math

import pytest

from retina.data.annotations import annotation_name
from retina.data.coco.records import box_of, check_annotation, check_category, check_image, is_number, is_whole

SOUND = {"id": 1, "image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4.5], "area": 13.5, "iscrowd": 0}


def names(problems) -> list[str]:
    return [kind.name for kind, _ in problems]


def test_sound_records_have_no_problems():
    assert check_annotation(SOUND) == []
    assert check_image({"id": 4, "file_name": "a/b.jpg", "height": 50, "width": 100}) == []
    assert check_category({"id": 3, "name": "dog"}) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"id": "7"}, "annotation-id-unusable"),
        ({"image_id": 4.0}, "annotations-image_id-not-whole"),
        ({"category_id": True}, "annotations-category_id-not-whole"),
        ({"bbox": [1, 2, 3]}, "box-malformed"),
        ({"bbox": "1 2 3 4"}, "box-malformed"),
        ({"bbox": [1, 2, True, 4]}, "box-malformed"),
        ({"area": -1}, "area-assumed"),
        ({"area": math.inf}, "area-assumed"),
        ({"iscrowd": 2}, "iscrowd-not-0-or-1"),
        ({"iscrowd": math.nan}, "iscrowd-not-0-or-1"),
    ],
)
def test_each_mistake_of_an_annotation_has_its_kind(changed, expected):
    assert names(check_annotation(SOUND | changed)) == [expected]


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox"])
def test_missing_keys_have_their_kind(key):
    record = {name: value for name, value in SOUND.items() if name != key}
    assert names(check_annotation(record)) == [f"annotations-without-{key}"]


def test_several_mistakes_of_one_record_are_all_told():
    record = {"id": None, "image_id": None, "category_id": "3", "bbox": None, "area": None}
    assert names(check_annotation(record)) == [
        "annotation-id-unusable", "annotations-image_id-not-whole", "annotations-category_id-not-whole",
        "box-malformed", "area-assumed", "iscrowd-assumed",
    ]  # fmt: skip


@pytest.mark.parametrize("record", [None, 5, "a", [1]])
def test_what_is_no_object_is_told_in_every_section(record):
    assert names(check_annotation(record)) == ["annotations-not-objects"]
    assert names(check_image(record)) == ["images-not-objects"]
    assert names(check_category(record)) == ["categories-not-objects"]


def test_long_values_are_shown_in_short():
    ((_, found),) = check_category({"id": "x" * 100, "name": "dog"})
    assert len(found) < 50


def test_a_polygon_gives_the_box_where_there_is_none():
    record = {**SOUND, "bbox": None, "segmentation": [[1, 2, 5, 2, 5, 8.5]]}
    assert box_of(record) == [1, 2, 4, 6.5]
    assert names(check_annotation(record)) == ["box-from-polygon"]
    assert box_of({**record, "segmentation": {"counts": [], "size": [1, 1]}}) is None
    assert box_of({**record, "segmentation": [[1, 2, "5", 2, 5, 8.5]]}) is None
    assert box_of({**record, "segmentation": [[1, 2, 5, 2]]}) is None


def test_numbers_are_those_of_64_bits():
    assert [is_whole(value) for value in (1, -(2**63), 2**63, True, 1.0, "1")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert [is_number(value) for value in (1, 1.5, math.nan, 2**63, True, "1", None)] == [True] * 3 + [False] * 4


def test_annotations_are_named_by_their_id_also_below_zero():
    assert annotation_name(-3) == "annotation -3"
