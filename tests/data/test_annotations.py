from __future__ import annotations

import hashlib

import numpy as np
import pytest

from retina.data.annotations import read_annotations


def test_categories_are_sorted_by_id_and_labels_follow(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.category_ids == (1, 18, 90)
    assert arrays.class_names == ("person", "dog", "toothbrush")
    # By image in the file's order: 40 has annotations 0, 3, 6; then 7, 12, 3 (none), 99, 1.
    assert arrays.labels.tolist() == [1, 0, 2, 0, 2, 0, 1]
    assert arrays.offsets.tolist() == [0, 3, 4, 5, 5, 6, 7]
    assert arrays.crowd.tolist() == [False, True, False, False, False, False, False]


def test_images_keep_the_order_of_the_file(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.image_ids.tolist() == [40, 7, 12, 3, 99, 1]
    assert list(arrays.file_names)[2] == "mit Löwe 猫.png"
    assert arrays.sizes[:2].tolist() == [[60, 80], [80, 60]]


def test_boxes_and_areas_are_the_files_numbers(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.boxes.dtype == np.float64
    assert arrays.boxes[0].tolist() == [10, 20, 30.5, 15.25]
    assert arrays.areas.tolist() == [300.125, 4800, 50, 800, 11.5, 900, 100]


def test_training_boxes_are_clipped_and_the_clipping_is_said(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.training_boxes.dtype == np.float32
    assert arrays.training_boxes[5].tolist() == [50, 10, 90, 30]
    assert arrays.boxes[5].tolist() == [50, 10, 45, 20]
    assert arrays.notes == (
        "1 box leaves its image, clipped for training: annotation 5, image 99 'deep/er/e.jpg'",
        "1 of 6 images have no objects (kept)",
    )


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([10, 10, 0, 5], "of zero or negative size"),
        ([10, 10, 5, -5], "of zero or negative size"),
        ([float("nan"), 10, 5, 5], "with values that are not finite"),
        ([10, 10, float("inf"), 5], "with values that are not finite"),
        ([float("-inf"), 10, float("inf"), 5], "with values that are not finite"),
        ([60, 10, 5, 5], "outside of the image"),  # the image is 60 wide
        ([10, -20, 5, 20], "outside of the image"),
        ([1e300, 1, 1e300, 1], "outside of the image"),
    ],
)
def test_boxes_that_cannot_be_used_are_left_out_and_said(write_annotations, content, box, kind):
    content["annotations"][1]["bbox"] = box
    arrays = read_annotations(write_annotations(content))
    assert len(arrays.boxes) == 6
    assert arrays.offsets.tolist() == [0, 3, 3, 4, 4, 5, 6]
    assert arrays.notes[0] == f"1 box {kind} left out of training and evaluation: annotation 17, image 7 'b.png'"
    assert "2 of 6 images have no objects (kept)" in arrays.notes


def test_many_boxes_left_out_are_counted_and_five_are_named(write_annotations, content):
    for annotation in content["annotations"]:
        annotation["bbox"] = [1, 1, 0, 0]
    arrays = read_annotations(write_annotations(content))
    assert len(arrays.boxes) == 0
    assert arrays.boxes.shape == (0, 4)
    assert arrays.notes[0].startswith("7 boxes of zero or negative size left out")
    assert arrays.notes[0].endswith("... (7 in all)")


def test_a_box_rounded_over_the_border_is_not_counted(write_annotations, content):
    content["annotations"] = [{"image_id": 40, "category_id": 1, "bbox": [10.01, 10, 70.0, 50.0]}]
    arrays = read_annotations(write_annotations(content))
    assert not any("leave" in note for note in arrays.notes)
    assert arrays.training_boxes[0, 2] == 80


@pytest.mark.parametrize("area", [None, "missing", float("nan"), -1, "12"])
def test_a_missing_area_is_width_times_height_and_said(write_annotations, content, area):
    content["annotations"][0]["area"] = area
    if area == "missing":
        del content["annotations"][0]["area"]
    arrays = read_annotations(write_annotations(content))
    assert arrays.areas[0] == 30.5 * 15.25
    assert "1 annotations without a usable 'area': width x height of the box is taken" in arrays.notes


def test_an_area_of_zero_stays_as_in_the_file(write_annotations, content):
    content["annotations"][0]["area"] = 0
    assert read_annotations(write_annotations(content)).areas[0] == 0


def test_a_missing_iscrowd_is_no_crowd(write_annotations, content):
    for annotation in content["annotations"]:
        del annotation["iscrowd"]
    assert not read_annotations(write_annotations(content)).crowd.any()


def test_annotations_need_no_id(write_annotations, content):
    for annotation in content["annotations"]:
        del annotation["id"]
    assert len(read_annotations(write_annotations(content)).boxes) == 7


def test_a_file_without_objects_is_a_data_set_of_empty_images(write_annotations, content):
    content["annotations"] = []
    arrays = read_annotations(write_annotations(content))
    assert arrays.boxes.shape == (0, 4)
    assert arrays.offsets.tolist() == [0] * 7
    assert arrays.notes == ("6 of 6 images have no objects (kept)",)


def test_the_fingerprint_is_the_sha256_of_the_file(write_annotations, content):
    path = write_annotations(content)
    assert read_annotations(path).fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_outlines_are_forgotten_and_change_nothing(write_annotations, content):
    plain = read_annotations(write_annotations(content))
    for annotation in content["annotations"]:
        annotation["segmentation"] = {"counts": [1, 2, 3], "size": [4, 5]} if annotation["iscrowd"] else [[1.0] * 8]
    outlined = read_annotations(write_annotations(content))
    np.testing.assert_array_equal(plain.boxes, outlined.boxes)
    np.testing.assert_array_equal(plain.labels, outlined.labels)
