"""Rows of the table of broken inputs: annotation files. ``d`` is a sound data set (tests/doctor/conftest.py)."""

from __future__ import annotations

import json
import math
import os

from tests.doctor.broken import FINE, REFUSED, ROWS, TOLD, row


def first(d):
    return d.content["annotations"][0]


# The file ---------------------------------------------------------------------------------------------------------


@row(FINE)
def nothing(d): ...


@row(REFUSED, "train.json")
def annotation_file_missing(d):
    d.write()
    d.file.unlink()
    d.write = lambda: d


@row(REFUSED, "train.json")
def annotation_file_is_a_folder(d):
    d.file.unlink()
    d.file.mkdir()
    d.write = lambda: d


@row(REFUSED, "train.json")
def annotation_file_is_a_pipe(d):
    d.file.unlink()
    os.mkfifo(d.file)
    d.write = lambda: d


@row(REFUSED, "train.json")
def file_empty(d):
    d.text = ""


@row(REFUSED, "train.json", "middle")
def file_cut_off(d):
    d.text = json.dumps(d.content)[:-200]


@row(REFUSED, "train.json")
def file_is_yaml(d):
    d.text = "images: []\nannotations: []\n"


@row(REFUSED, "train.json", "UTF-8")
def file_is_latin_1(d):
    d.content["categories"][0]["name"] = "Käfer"
    d.text = json.dumps(d.content, ensure_ascii=False).encode("latin-1")


@row(REFUSED, "train.json")
def file_is_utf_16(d):
    d.text = json.dumps(d.content).encode("utf-16")


@row(TOLD, "byte order mark")
def file_with_byte_order_mark(d):
    d.text = b"\xef\xbb\xbf" + json.dumps(d.content).encode()


@row(REFUSED, "train.json", "list")
def file_is_a_list_of_detections(d):
    d.text = json.dumps(d.content["annotations"])


@row(REFUSED, "train.json")
def file_nested_too_deep(d):
    d.text = "[" * 50_000 + "]" * 50_000


@row(REFUSED, "train.json", "more than once")
def section_twice(d):
    text = json.dumps(d.content)
    d.text = text[:-1] + ', "annotations": []}'


@row(REFUSED, "train.json", "more than once", "annotation")
def key_twice_in_an_annotation(d):
    d.text = json.dumps(d.content).replace('"id": 1001,', '"id": 1001, "category_id": 2,', 1)


@row(FINE)
def info_missing(d):
    del d.content["info"]


@row(FINE)
def unknown_sections_and_keys(d):
    d.content["licenses"] = [{"deep": [[1]] * 9}]
    first(d)["colour"] = None


@row(REFUSED, "train.json", "'images'")
def images_missing(d):
    del d.content["images"]


@row(REFUSED, "train.json", "'annotations'")
def annotations_missing(d):
    del d.content["annotations"]


@row(REFUSED, "train.json", "'categories'")
def categories_missing(d):
    del d.content["categories"]


@row(REFUSED, "train.json", "'annotations'")
def annotations_are_an_object(d):
    d.content["annotations"] = {"0": first(d)}


@row(REFUSED, "train.json", "images")
def no_images(d):
    d.content["images"], d.content["annotations"] = [], []


@row(REFUSED, "train.json", "categories")
def no_categories(d):
    d.content["categories"], d.content["annotations"] = [], []


@row(REFUSED, "train.json", "not an object")
def an_annotation_is_a_number(d):
    d.content["annotations"].append(7)


# Images in the file -----------------------------------------------------------------------------------------------


@row(REFUSED, "train.json", "image 10", "train_1.jpg")
def image_id_twice(d):
    d.content["images"][1]["id"] = 10


@row(REFUSED, "train.json", "'id' of 'images'")
def image_id_is_text(d):
    d.content["images"][1]["id"] = "11"


@row(REFUSED, "train.json", "'id' of 'images'")
def image_id_is_a_fraction(d):
    d.content["images"][1]["id"] = 11.5


@row(REFUSED, "train.json", "'id' of 'images'")
def image_id_is_huge(d):
    d.content["images"][1]["id"] = 2**70


@row(REFUSED, "train.json", "without 'file_name'", "image 11")
def file_name_missing(d):
    del d.content["images"][1]["file_name"]


@row(REFUSED, "train.json", "'file_name'")
def file_name_is_a_number(d):
    d.content["images"][1]["file_name"] = 5


@row(REFUSED, "train.json", "leave", "image 11", "/etc/passwd")
def file_name_is_absolute(d):
    d.content["images"][1]["file_name"] = "/etc/passwd"


@row(REFUSED, "train.json", "leave", "image 11", "../val/val_0.jpg")
def file_name_goes_up(d):
    d.content["images"][1]["file_name"] = "../val/val_0.jpg"


@row(REFUSED, "train.json", "leave", "image 11")
def file_name_with_zero_byte(d):
    d.content["images"][1]["file_name"] = "a\0.jpg"


@row(TOLD, "train_0.jpg", "image 11")
def file_name_twice(d):
    d.content["images"][1]["file_name"] = "train_0.jpg"


@row(REFUSED, "train.json", "without 'height'", "image 11")
def height_missing(d):
    del d.content["images"][1]["height"]


@row(REFUSED, "train.json", "image 11", "below 1")
def width_is_zero(d):
    d.content["images"][1]["width"] = 0


@row(REFUSED, "train.json", "image 11", "below 1")
def height_is_negative(d):
    d.content["images"][1]["height"] = -48


@row(REFUSED, "train.json", "'width' of 'images'")
def width_is_text(d):
    d.content["images"][1]["width"] = "64"


@row(TOLD, "image without objects", "image 11")
def image_without_objects(d):
    d.content["annotations"] = [a for a in d.content["annotations"] if a["image_id"] != 11]


# Categories -------------------------------------------------------------------------------------------------------


@row(REFUSED, "train.json", "category 1")
def category_id_twice(d):
    d.content["categories"][1]["id"] = 1


@row(REFUSED, "train.json", "'name' of 'categories'")
def class_name_is_null(d):
    d.content["categories"][1]["name"] = None


@row(REFUSED, "train.json", "'person'")
def class_name_twice(d):
    d.content["categories"][1]["name"] = "person"


@row(REFUSED, "different categories")
def classes_of_the_splits_differ(d):
    d.content["categories"].append({"id": 9, "name": "cat"})


@row(REFUSED, "different categories")
def class_name_differs_in_case_between_splits(d):
    d.content["categories"][1]["name"] = "Dog"


# Annotations ------------------------------------------------------------------------------------------------------


@row(REFUSED, "train.json", "annotation 1001", "image 999")
def image_unknown(d):
    first(d)["image_id"] = 999


@row(REFUSED, "train.json", "annotation 1001", "image 10")
def category_unknown(d):
    first(d)["category_id"] = 77


@row(REFUSED, "train.json", "annotation 1001")
def category_id_is_text(d):
    first(d)["category_id"] = "1"


@row(REFUSED, "train.json", "annotation 1001")
def category_id_is_true(d):
    first(d)["category_id"] = True


@row(REFUSED, "train.json", "without 'category_id'", "annotation 1001")
def category_id_missing(d):
    del first(d)["category_id"]


@row(TOLD, "annotation 1002", "id that another has")
def annotation_id_twice(d):
    first(d)["id"] = 1002


@row(TOLD, "annotation")
def annotation_id_missing(d):
    del first(d)["id"]


@row(TOLD, "area", "annotation 1001")
def area_missing(d):
    del first(d)["area"]


@row(TOLD, "area", "annotation 1001")
def area_is_text(d):
    first(d)["area"] = "600"


@row(TOLD, "iscrowd", "annotation 1001")
def iscrowd_missing(d):
    del first(d)["iscrowd"]


@row(REFUSED, "train.json", "iscrowd", "annotation 1001")
def iscrowd_is_two(d):
    first(d)["iscrowd"] = 2


@row(TOLD, "crowd", "annotation 1001")
def a_crowd(d):
    first(d)["iscrowd"] = 1


# Boxes ------------------------------------------------------------------------------------------------------------


def box(name: str, value, outcome: str, *told: str) -> None:
    """Add a row in which one box is ``value``."""

    def change(d) -> None:
        first(d)["bbox"] = value

    ROWS.append((f"box_{name}", change, outcome, told))


box("is_null", None, TOLD, "annotation 1001")
box("is_text", "4 6 20 30", TOLD, "annotation 1001")
box("of_texts", ["4", "6", "20", "30"], TOLD, "annotation 1001")
box("of_three", [4, 6, 20], TOLD, "annotation 1001")
box("of_five", [4, 6, 20, 30, 1], TOLD, "annotation 1001")
box("with_null", [4, None, 20, 30], TOLD, "annotation 1001")
box("with_true", [4, True, 20, 30], TOLD, "annotation 1001")
box("is_an_object", {"x": 4}, TOLD, "annotation 1001")
box("with_nan", [4, math.nan, 20, 30], TOLD, "not finite", "annotation 1001")
box("with_infinity", [4, 6, math.inf, 30], TOLD, "not finite", "annotation 1001")
box("with_a_huge_number", [4, 6, 1e308, 1e308], TOLD, "annotation 1001")
box("with_a_number_no_float_holds", [4, 6, 10**400, 30], TOLD, "annotation 1001")
box("of_zero_width", [4, 6, 0, 30], TOLD, "zero or negative", "annotation 1001")
box("of_negative_height", [4, 36, 20, -30], TOLD, "zero or negative", "annotation 1001")
box("outside", [400, 6, 20, 30], TOLD, "outside of its image", "annotation 1001", "train_0.jpg")
box("beyond_the_right", [50, 6, 30, 30], TOLD, "leaves its image", "annotation 1001", "clipped")
box("beyond_the_top", [4, -6, 20, 30], TOLD, "leaves its image", "annotation 1001", "clipped")
box("as_large_as_the_image", [0, 0, 64, 48], FINE)
box("a_rounding_beyond", [44, 6, 20.01, 30], FINE)
box("of_a_hair", [4, 6, 0.01, 0.01], FINE)


@row(TOLD, "annotation 1001", "polygon")
def box_missing_beside_a_polygon(d):
    del first(d)["bbox"]
    first(d)["segmentation"] = [[4, 6, 24, 6, 24, 36]]


@row(REFUSED, "train.json", "annotation 1001")
def box_missing(d):
    del first(d)["bbox"]


@row(TOLD, "written again", "annotation 9")
def box_twice(d):
    d.content["annotations"].append({**first(d), "id": 9})


@row(REFUSED, "train.json", "[x1, y1, x2, y2]")
def boxes_as_corners(d):
    for a in d.content["annotations"]:
        a["bbox"] = [30, 20, 60, 44] if a["category_id"] == 1 else [20, 25, 63, 47]


@row(REFUSED, "train.json", "between 0 and 1")
def boxes_as_shares(d):
    for a in d.content["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x / 64, y / 48, w / 64, h / 48]


@row(REFUSED, "train.json", "more than half")
def most_boxes_without_size(d):
    for a in d.content["annotations"]:
        a["bbox"][2] = 0
