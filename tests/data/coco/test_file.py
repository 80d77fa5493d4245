"""Every mistake of an annotation file is told with the file, the record and what was found."""

from __future__ import annotations

import gc
import json
import os

import numpy as np
import pytest

from retina.data.coco.file import inspect_coco, read_annotations, read_coco
from retina.errors import DataError


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert str(path) in message
    assert caught.value.fix or "text" in message
    return message


def found(path) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    """Severity, count and places by the name of the kind."""
    return {f.fault.name: (f.fault.severity, f.count, tuple(map(str, f.places))) for f in inspect_coco(path)[1]}


def test_a_missing_file_is_told(tmp_path):
    assert "cannot be read: " in (message := refusal(tmp_path / "no.json"))
    assert "[No such file or directory]" in message


def test_a_folder_or_a_pipe_in_place_of_the_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"images": [{"id": 1', '{"images": [], "annotations": "abc'])
def test_a_file_that_ends_in_the_middle_is_told(write_annotations, text):
    assert "annotation file that ends in the middle" in refusal(write_annotations(text))


@pytest.mark.parametrize("text", ["images: []", "[" * 100_000, '{"images": [}', '{"a": 1 "b": 2}', '{"a": 1} x', "5"])
def test_what_is_not_json_is_told(write_annotations, text):
    assert "annotation file that is not a JSON object" in refusal(write_annotations(text))


def test_numbers_of_thousands_of_digits_are_told(write_annotations, content):
    text = json.dumps(content).replace("300.125", "1" * 5000)
    assert "a number has too many digits" in refusal(write_annotations(text))


def test_what_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{"images": "é"}'.encode("latin-1"))
    assert "not UTF-8 text" in (message := refusal(path))
    assert "byte 12" in message
    path.write_text("{}", encoding="utf-16")
    assert "it is UTF-16" in refusal(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path, content):
    path = tmp_path / "marked.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert len(read_annotations(path).image_ids) == 6
    assert found(path)["byte-order-mark"][0] == "note"


def test_a_list_is_taken_for_detections(write_annotations, content):
    message = refusal(write_annotations(content["annotations"]))
    assert "holds a list" in message
    assert "how detections are written" in message


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_missing_section_is_named(write_annotations, content, section):
    del content[section]
    assert f"list that is missing: {write_annotations(content)} ['{section}']" in refusal(write_annotations(content))


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
    assert f"record of '{section}' without '{key}'" in message
    assert expected in message


def test_the_objects_of_an_image_with_a_mistake_are_no_mistakes_besides(write_annotations, content):
    content["images"][0]["width"] = "80"
    content["categories"][0]["name"] = None
    errors = [name for name, (severity, _, _) in found(write_annotations(content)).items() if severity == "error"]
    assert sorted(errors) == ["categories-name-not-text", "images-width-not-whole"]


def test_only_five_places_are_shown_and_all_are_counted(write_annotations, content):
    for annotation in content["annotations"]:
        annotation["category_id"] = 2
    message = refusal(write_annotations(content))
    assert "7 'category_id' of 'annotations' that are not among the 'categories'" in message
    assert message.count("(found 2)") == 5
    assert "(7 in all)" in message


def test_an_unknown_image_is_told(write_annotations, content):
    content["annotations"][2]["image_id"] = 41
    message = refusal(write_annotations(content))
    assert "'image_id' of 'annotations' that is not among the 'images'" in message
    assert "[annotation 3, image 41 (found 41)]" in message


@pytest.mark.parametrize("value", ["40", 40.0, None, True, [40], 2**70])
def test_ids_that_are_no_whole_numbers_are_told(write_annotations, content, value):
    content["annotations"][0]["image_id"] = value
    message = refusal(write_annotations(content))
    assert "'image_id' of 'annotations' that is not a whole number" in message
    assert f"(found {value!r})" in message


def test_image_ids_that_occur_twice_are_told(write_annotations, content):
    content["images"][1]["id"] = 40
    content["annotations"][1]["image_id"] = 40
    message = refusal(write_annotations(content))
    assert "2 images with an id that another has, too" in message
    assert "[image 40 'a.png', image 40 'b.png']" in message


def test_category_ids_that_occur_twice_are_told(write_annotations, content):
    content["categories"][1]["id"] = 90
    assert found(write_annotations(content))["category-id-twice"] == (
        "error", 2, ("category 90 'toothbrush'", "category 90 'person'"),
    )  # fmt: skip


def test_annotation_ids_that_occur_twice_are_said_and_all_are_kept(write_annotations, content):
    content["annotations"][1]["id"] = 3
    path = write_annotations(content)
    assert len(read_annotations(path).boxes) == 7
    assert found(path)["annotation-id-twice"] == ("warning", 2, ("annotation 3", "annotation 3"))


@pytest.mark.parametrize("name", ["/etc/passwd", "../b.png", "a/../../b.png", "b\0.png"])
def test_file_names_that_leave_the_folder_are_refused(write_annotations, content, name):
    content["images"][1]["file_name"] = name
    message = refusal(write_annotations(content))
    assert "file name that leaves the folder of images" in message
    assert f"image 7 {name!r}" in message


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], [1, 2, 3, 4, 5], {"x": 1}, ["1", "2", "3", "4"], [1, 2, None, 4], [1, 2, 3, 10**400]]
)
def test_boxes_that_are_not_four_numbers_are_left_out_and_named(write_annotations, content, box):
    content["annotations"][1]["bbox"] = box
    path = write_annotations(content)
    assert len(read_annotations(path).boxes) == 6
    severity, count, places = found(path)["box-malformed"]
    assert (severity, count) == ("warning", 1)
    assert places[0].startswith("annotation 17, image 7 'b.png' (found ")
    with pytest.raises(DataError, match=r"not four numbers \[x, y, width, height\].*annotation 17"):
        read_annotations(path, on_bad_box="error")


@pytest.mark.parametrize("value", [2, -1, "yes", None, [], 0.5])
def test_iscrowd_is_zero_or_one(write_annotations, content, value):
    content["annotations"][1]["iscrowd"] = value
    assert "'iscrowd' that is not 0 or 1" in refusal(write_annotations(content))


@pytest.mark.parametrize(("value", "crowd"), [(True, True), (1.0, True), (False, False), (0, False)])
def test_iscrowd_may_be_written_in_other_ways(write_annotations, content, value, crowd):
    content["annotations"][0]["iscrowd"] = value
    assert read_annotations(write_annotations(content)).crowd[0] == crowd


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("height", 0, "below 1"),
        ("width", -5, "below 1"),
        ("width", "80", "not a whole number"),
        ("width", True, "not a whole number"),
        ("file_name", 5, "not text"),
        ("file_name", "\ud800.png", "leaves the folder"),
    ],
)
def test_images_need_a_name_and_a_size(write_annotations, content, key, value, told):
    content["images"][1][key] = value
    message = refusal(write_annotations(content))
    assert told in message
    assert "image 7" in message


@pytest.mark.parametrize("name", [5, None, "\ud800"])
def test_class_names_are_text(write_annotations, content, name):
    content["categories"][0]["name"] = name
    assert "'name' of 'categories' that is not text" in refusal(write_annotations(content))


@pytest.mark.parametrize("section", ["images", "categories"])
def test_a_file_without_images_or_classes_is_refused(write_annotations, content, section):
    content["annotations"] = []
    content[section] = []
    assert f"file without {section}" in refusal(write_annotations(content))


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_records_are_objects_in_a_list(write_annotations, content, section):
    content[section].append(5)
    message = refusal(write_annotations(content))
    assert f"entry of '{section}' that is not an object" in message
    number = len(content[section])
    assert f"{section} number {number} (found 5)" in message
    content[section] = {"a": 1}
    assert f"'{section}' is a dict" in refusal(write_annotations(content))


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_key_that_is_given_twice_is_told(write_annotations, content, section):
    text = json.dumps(content)
    place = text.index("{", text.index(f'"{section}"'))
    path = write_annotations(text[: place + 1] + '"id": 5, ' + text[place + 1 :])
    assert found(path)[f"{section}-duplicate-keys"][0] == "error"
    assert f"record of '{section}' that gives a key more than once" in refusal(path)


def test_a_section_that_is_given_twice_is_told(write_annotations, content):
    path = write_annotations(json.dumps(content)[:-1] + ', "annotations": []}')
    assert "name that the file gives more than once" in refusal(path)


def test_the_first_error_is_told_with_the_number_of_the_others(write_annotations, content):
    content["images"][0]["height"] = 0
    content["annotations"][1]["iscrowd"] = 7
    content["annotations"][3]["category_id"] = 2
    message = refusal(write_annotations(content))
    assert message.count("error: ") == 1
    assert "2 more kinds of errors in this file: python tools/doctor.py dataset=... lists all" in message


def test_sections_may_come_in_any_order_with_others_between(write_annotations, content):
    plain = read_coco(write_annotations(content))[0]
    turned = {"x": [[1, {"a": []}]], "categories": content["categories"], "annotations": content["annotations"]}
    turned |= {"licenses": [{"id": 1}], "images": content["images"], "info": {"year": 1}}
    other = read_coco(write_annotations(turned))[0]
    for name, value in vars(plain).items():
        assert list(map(str, value)) == list(map(str, vars(other)[name])), name


def test_id_zero_and_gaps_of_categories_are_notes(write_annotations, content):
    content["categories"].append({"id": 0, "name": "zero"})
    notes = found(write_annotations(content))
    assert notes["category-id-zero"] == ("note", 1, ("'zero'",))
    assert notes["category-id-gaps"][1] == 91 - 4


def test_a_box_is_taken_from_the_polygon_where_it_is_missing(write_annotations, content):
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = [[10, 20, 40, 20, 40, 35], [12, 20, 15, 20, 15, 50.5]]
    path = write_annotations(content)
    assert read_annotations(path).boxes[0].tolist() == [10, 20, 30, 30.5]
    assert found(path)["box-from-polygon"] == ("warning", 1, ("annotation 0, image 40 'a.png'",))


def test_ten_thousand_categories_are_read(write_annotations, content):
    content["categories"] = [{"id": number, "name": f"class {number}"} for number in range(1, 10_001)]
    for number, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = 10_000 - number
    arrays = read_annotations(write_annotations(content))
    assert arrays.labels.max() == 9_999
    assert found(write_annotations(content))["class-unused"][1] == 10_000 - 7


def test_real_files_have_what_their_makers_say_and_nothing_else(shared_data):
    expected = {"crowd": 12, "image-without-objects": 0, "class-unused": 0, "category-id-gaps": 0}
    names: set[str] = set()
    for split in ("train", "val"):
        names |= set(found(shared_data / "coco158" / "annotations" / f"instances_{split}2017.json"))
    assert names <= set(expected) | {"box-near-duplicate"}
    for split in ("train", "val", "test"):
        assert found(shared_data / "bccd" / "annotations" / f"instances_{split}2017.json") == {}


def test_reading_agrees_with_json_loads(shared_data):
    path = shared_data / "coco158" / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    arrays = read_coco(path)[0]
    np.testing.assert_array_equal(arrays.boxes, [record["bbox"] for record in content["annotations"]])
    np.testing.assert_array_equal(arrays.object_ids, [record["id"] for record in content["annotations"]])
    assert list(arrays.file_names) == [record["file_name"] for record in content["images"]]


@pytest.mark.parametrize("enabled", [True, False])
def test_reading_leaves_the_collector_as_it_was_also_where_the_file_is_broken(write_annotations, content, enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        for text in (content, "{"):
            read_coco(write_annotations(text))
            assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
