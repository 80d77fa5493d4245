"""Every mistake of an annotation file is told with the file, the record and what was found."""

from __future__ import annotations

import json
import os

import pytest

from retina.data.annotations import read_annotations
from retina.errors import DataError


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_a_missing_file_is_told(tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "no.json")


def test_a_folder_or_a_pipe_in_place_of_the_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "images: []", "[" * 100_000])
def test_what_is_not_json_is_told(write_annotations, text):
    assert "is not JSON" in refusal(write_annotations(text))


def test_what_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{"images": "é"}'.encode("latin-1"))
    assert "not UTF-8 text (byte 12)" in refusal(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path, content):
    path = tmp_path / "marked.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert len(read_annotations(path).image_ids) == 6


def test_a_list_is_taken_for_detections(write_annotations, content):
    message = refusal(write_annotations(content["annotations"]))
    assert "holds a list" in message
    assert "how detections are written" in message


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_missing_section_is_named(write_annotations, content, section):
    del content[section]
    assert f"'{section}' is missing" in refusal(write_annotations(content))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *[("images", key) for key in ("id", "file_name", "height", "width")],
        *[("annotations", key) for key in ("image_id", "category_id", "bbox")],
        *[("categories", key) for key in ("id", "name")],
    ],
)
def test_a_missing_key_is_named_with_its_record(write_annotations, content, section, key):
    del content[section][1][key]
    message = refusal(write_annotations(content))
    record = {"images": "image 7", "annotations": "annotation 17, image 7 'b.png'", "categories": "category 1"}[section]
    expected = {"id": "number 2", "image_id": "annotation 17", "file_name": "image 7"}.get(key, record)
    assert f"'{section}' without '{key}'" in message
    assert expected in message


def test_only_five_places_are_shown_and_all_are_counted(write_annotations, content):
    for annotation in content["annotations"]:
        annotation["category_id"] = 2
    message = refusal(write_annotations(content))
    assert "'category_id' of 'annotations' is not among the 'categories', found 2" in message
    assert message.count("annotation ") - message.count("the annotation ") == 5
    assert "(7 in all)" in message


def test_an_unknown_image_is_told(write_annotations, content):
    content["annotations"][2]["image_id"] = 41
    message = refusal(write_annotations(content))
    assert "'image_id' of 'annotations' is not among the 'images', found 41" in message
    assert "[annotation 3, image 41]" in message


@pytest.mark.parametrize("value", ["40", 40.0, None, True, [40], 2**70])
def test_ids_that_are_no_whole_numbers_are_told(write_annotations, content, value):
    content["annotations"][0]["image_id"] = value
    message = refusal(write_annotations(content))
    assert f"'image_id' of 'annotations' must be a whole number, found {value!r}" in message


def test_image_ids_that_occur_twice_are_told(write_annotations, content):
    content["images"][1]["id"] = 40
    message = refusal(write_annotations(content))
    assert "'images' have the same id more than once" in message
    assert "[image 40 'a.png', image 40 'b.png']" in message


def test_category_ids_that_occur_twice_are_told(write_annotations, content):
    content["categories"][1]["id"] = 90
    assert "[category 90, category 90]" in refusal(write_annotations(content))


@pytest.mark.parametrize("name", ["/etc/passwd", "../b.png", "a/../../b.png", "b\0.png"])
def test_file_names_that_leave_the_folder_are_refused(write_annotations, content, name):
    content["images"][1]["file_name"] = name
    message = refusal(write_annotations(content))
    assert "file names that leave the folder of images" in message
    assert f"image 7 {name!r}" in message


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], [1, 2, 3, 4, 5], {"x": 1}, ["1", "2", "3", "4"], [1, 2, None, 4], [1, 2, 3, 10**400]]
)
def test_boxes_that_are_not_four_numbers_are_told(write_annotations, content, box):
    content["annotations"][1]["bbox"] = box
    message = refusal(write_annotations(content))
    assert "'bbox' must be four numbers [x, y, width, height]" in message
    assert "annotation 17, image 7 'b.png'" in message


@pytest.mark.parametrize("value", [2, -1, "yes", None, [], 0.5])
def test_iscrowd_is_zero_or_one(write_annotations, content, value):
    content["annotations"][1]["iscrowd"] = value
    assert "'iscrowd' must be 0 or 1" in refusal(write_annotations(content))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("height", 0, "at least 1"),
        ("width", -5, "at least 1"),
        ("width", "80", "whole number"),
        ("file_name", 5, "must be text"),
    ],
)
def test_images_need_a_name_and_a_size(write_annotations, content, key, value, told):
    content["images"][1][key] = value
    message = refusal(write_annotations(content))
    assert told in message
    assert "image 7" in message


def test_class_names_are_text(write_annotations, content):
    content["categories"][0]["name"] = 5
    assert "'name' of 'categories' must be text" in refusal(write_annotations(content))


@pytest.mark.parametrize(
    ("section", "told"), [("images", "there are no images"), ("categories", "there are no categories")]
)
def test_a_file_without_images_or_classes_is_refused(write_annotations, content, section, told):
    content["annotations"] = []
    content[section] = []
    assert told in refusal(write_annotations(content))


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_records_are_objects_in_a_list(write_annotations, content, section):
    content[section].append(5)
    assert f"'{section}' holds something that is not an object" in refusal(write_annotations(content))
    content[section] = {"a": 1}
    assert f"'{section}' is a dict, not a list" in refusal(write_annotations(content))
