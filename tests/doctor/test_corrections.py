from __future__ import annotations

import json
import math
from copy import deepcopy

import pytest

from retina.doctor.corrections import correct
from retina.doctor.fix import sentences
from tests.sound_data import sound_content


@pytest.fixture
def content():
    return sound_content("train")


def corrected(content, **known):
    known.setdefault("pixel_sizes", {})
    return correct(content, **known)


def first(content):
    return content["annotations"][0]


def test_a_sound_file_is_left_as_it_is(content):
    before = deepcopy(content)
    assert corrected(content) == {}
    assert content == before


@pytest.mark.parametrize(
    ("key", "value", "expected", "said"),
    [
        ("bbox", [50, 6, 30, 30], [50, 6, 14, 30], "clipped"),
        ("bbox", [-4, -6, 20, 30], [0, 0, 16, 24], "clipped"),
        ("bbox", ["4", "6", "20", "30"], [4, 6, 20, 30], "of text"),
        ("area", None, 600, "areas computed"),
        ("area", math.nan, 600, "areas computed"),
        ("iscrowd", None, 0, "'iscrowd' added"),
        ("category_id", "1", 1, "whole numbers"),
        ("image_id", 10.0, 10, "whole numbers"),
    ],
)
def test_what_has_one_right_answer_is_corrected_and_listed(content, key, value, expected, said):
    first(content)[key] = value
    result = corrected(content)
    assert first(content)[key] == expected
    assert [what for what in result if said in what]
    assert first(content)["note"] == "kept"
    assert len(content["annotations"]) == 8


@pytest.mark.parametrize(
    "box",
    [None, [1, 2, 3], [4, 6, 0, 3], [4, 6, -2, 3], [1, 2, math.nan, 4], [4, 6, math.inf, 3], [400, 6, 3, 3], ["a"] * 4],
)
def test_a_box_that_cannot_be_used_is_left_out_and_listed(content, box):
    first(content)["bbox"] = box
    result = corrected(content)
    assert [a["id"] for a in content["annotations"]] == [1002, 1101, 1102, 1201, 1202, 1301, 1302]
    assert [ids for what, ids in result.items() if "left out" in what] == [[1001]]


def test_annotations_of_nothing_are_left_out(content):
    first(content)["image_id"] = 999
    content["annotations"][1]["category_id"] = None
    content["annotations"].append("text")
    result = corrected(content)
    assert len(content["annotations"]) == 6
    assert result["annotations of unknown images or categories left out"] == [1001, 1002]
    assert "1 entries of 'annotations' that are no objects left out: 'text'" in sentences(result)


def test_a_box_is_made_of_the_polygon(content):
    del first(content)["bbox"]
    first(content)["segmentation"] = [[4, 6, 24, 6, 24, 36]]
    corrected(content)
    assert first(content)["bbox"] == [4, 6, 20, 30]
    assert first(content)["segmentation"] == [[4, 6, 24, 6, 24, 36]]


def test_copies_are_left_out_and_ids_given_anew(content):
    content["annotations"] += [{**first(content), "id": 9}, {**first(content), "bbox": [1, 1, 5, 5]}]
    del content["annotations"][1]["id"]
    result = corrected(content)
    ids = [a["id"] for a in content["annotations"]]
    assert len(set(ids)) == len(ids) == 9
    assert result["boxes written twice, the second left out"] == [9]
    assert result["annotations given an id of their own (the former ids)"] == [None, 1001]
    assert ids[1] == 1303
    assert ids[-1] == 1304


def test_corners_become_sides(content):
    expected = [a["bbox"] for a in deepcopy(content)["annotations"]]
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x, y, x + w, y + h]
    result = corrected(content)
    assert [a["bbox"] for a in content["annotations"]] == expected
    assert first(content)["area"] == 600
    assert len(result["boxes turned from [x1, y1, x2, y2] into widths and heights"]) == 8


def test_shares_become_pixels(content):
    expected = [a["bbox"] for a in deepcopy(content)["annotations"]]
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x / 64, y / 48, w / 64, h / 48]
    corrected(content)
    for a, box in zip(content["annotations"], expected, strict=True):
        assert a["bbox"] == pytest.approx(box, abs=1e-9)


def test_the_pixels_are_believed_where_all_boxes_fit(content):
    for annotation in content["annotations"][4:6]:
        annotation["bbox"] = [1, 2, 3, 4 + annotation["category_id"]]  # fits either way
    result = corrected(content, pixel_sizes={10: (60, 80), 11: (20, 20), 12: (64, 48)})
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    assert sizes[10] == (60, 80)
    assert sizes[11] == (48, 64), "boxes would stand outside"
    assert sizes[12] == (48, 64), "it may be turned: nobody knows which way the boxes were drawn"
    assert result["sizes of images corrected to their pixels"] == [10]


def test_images_that_cannot_be_read_are_left_out_unless_they_are_many(content):
    result = corrected(content, unreadable=[11])
    assert [image["id"] for image in content["images"]] == [10, 12, 13]
    assert {a["image_id"] for a in content["annotations"]} == {10, 12, 13}
    assert result["images that cannot be read left out, with their objects"] == [11]
    untouched = sound_content("train")
    assert not corrected(untouched, unreadable=[10, 11])


def test_records_written_twice_word_for_word_stay_once(content):
    content["images"].append(dict(content["images"][0]))
    content["categories"].append({"id": 2, "name": "cat"})
    corrected(content)
    assert len(content["images"]) == 4
    assert len(content["categories"]) == 3, "two names for one id: nobody knows which"


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_file_without_its_lists_is_left_alone(content, section):
    content[section] = {"0": 1}
    before = deepcopy(content)
    assert not corrected(content)
    assert content == before


def test_correcting_twice_changes_nothing_more(content):
    first(content)["bbox"] = [50, 6, 30, 30]
    del content["annotations"][1]["id"]
    content["annotations"][2]["area"] = None
    content["annotations"].append({**content["annotations"][5]})
    corrected(content)
    once = json.dumps(content)
    assert not corrected(content)
    assert json.dumps(content) == once
