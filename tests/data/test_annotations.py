"""Annotations as flat arrays: what is kept as in the file, what is left out, clipped or assumed, and how it is told."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from retina.data.annotations import (
    NO_ID,
    RawAnnotations,
    annotation_name,
    build_annotations,
    refuse_errors,
    usable_boxes,
)
from retina.data.coco.file import inspect_coco, read_annotations
from retina.data.findings import Findings
from retina.data.flat_text import FlatText
from retina.doctor.duplicates import near_duplicate_boxes
from retina.errors import DataError


def build(boxes, *, labels=None, names=("a.jpg", "b.jpg"), classes=("cat", "dog"), **changed):
    """Two images of 100 x 200 (height, width); objects belong to the first unless ``owner`` says otherwise."""
    count = len(boxes)
    columns = {
        "category_ids": range(1, len(classes) + 1),
        "class_names": classes,
        "image_ids": np.array([1, 2]),
        "file_names": FlatText(names),
        "sizes": np.array([[100, 200], [100, 200]]),
        "image_of_object": np.zeros(count, dtype=np.int64),
        "labels": np.zeros(count, dtype=np.int64) if labels is None else np.array(labels),
        "boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4),
        "areas": np.ones(count),
        "crowd": np.zeros(count, dtype=bool),
        "object_ids": np.arange(count) + 10,
    }
    settings = {name: changed.pop(name) for name in ("findings", "on_bad_box") if name in changed}
    findings = settings.pop("findings", Findings("boxes.csv"))
    raw = RawAnnotations(**columns | changed)
    return build_annotations(raw, findings, source="boxes.csv", fingerprint="0" * 64, **settings)


def found(annotations) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {f.fault.name: (f.fault.severity, f.count, tuple(map(str, f.places))) for f in annotations.findings}


def test_categories_are_sorted_by_id_and_labels_follow(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.category_ids == (1, 18, 90)
    assert arrays.class_names == ("person", "dog", "toothbrush")
    # By image in the file's order: 40 has annotations 0, 3, 6; then 7, 12, 3 (none), 99, 1.
    assert arrays.labels.tolist() == [1, 0, 2, 0, 2, 0, 1]
    assert arrays.object_ids.tolist() == [0, 3, 6, 17, 4, 5, 8]
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


def test_training_boxes_are_clipped_and_everything_odd_is_said(write_annotations, content):
    arrays = read_annotations(write_annotations(content))
    assert arrays.training_boxes.dtype == np.float32
    assert arrays.training_boxes[5].tolist() == [50, 10, 90, 30]
    assert arrays.boxes[5].tolist() == [50, 10, 45, 20]
    assert arrays.notes == (
        "1 box that leaves its image, clipped for training: annotation 5, image 99 'deep/er/e.jpg'",
        "87 ids left out between the lowest and the highest category, labels are counted without them",
        "1 crowd region, neither objects nor background: annotation 3, image 40 'a.png'",
        "1 image without objects, kept: image 3 'empty.png'",
    )


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([10, 10, 0, 5], "of zero or negative size"),
        ([10, 10, 5, -5], "of zero or negative size"),
        ([float("nan"), 10, 5, 5], "with values that are not finite"),
        ([10, 10, float("inf"), 5], "with values that are not finite"),
        ([float("-inf"), 10, float("inf"), 5], "with values that are not finite"),
        ([60, 10, 5, 5], "outside of its image"),  # the image is 60 wide
        ([10, -20, 5, 20], "outside of its image"),
        ([1e300, 1, 1e300, 1], "outside of its image"),
    ],
)
def test_boxes_that_cannot_be_used_are_left_out_and_said(write_annotations, content, box, kind):
    content["annotations"][1]["bbox"] = box
    arrays = read_annotations(path := write_annotations(content))
    assert len(arrays.boxes) == 6
    assert arrays.offsets.tolist() == [0, 3, 3, 4, 4, 5, 6]
    assert f"1 box {kind}, left out of training and evaluation: annotation 17, image 7 'b.png'" in arrays.notes
    assert any(note.startswith("2 images without objects") for note in arrays.notes)
    with pytest.raises(DataError, match=kind):
        read_annotations(path, on_bad_box="error")


def test_many_boxes_left_out_are_counted_and_five_are_named():
    arrays = build([[1, 1, 0, 0]] * 7 + [[2, 2, 5 + i, 5] for i in range(8)])
    assert arrays.boxes.shape == (8, 4)
    assert arrays.notes[0].startswith("7 boxes of zero or negative size, left out")
    assert arrays.notes[0].endswith("annotation 14, image 1 'a.jpg', ... (7 in all)")


def test_a_file_most_of_whose_boxes_cannot_be_used_is_refused():
    arrays = build([[1, 1, 0, 0]] * 7 + [[2, 2, 5, 5]])
    with pytest.raises(DataError, match="7 boxes cannot be used, more than half of the file's"):
        refuse_errors(arrays.findings)


@pytest.mark.parametrize(("policy", "kept"), [("clip", 2), ("drop", 1), ("error", 2)])
def test_a_box_that_leaves_its_image_is_clipped_dropped_or_refused(policy, kept):
    arrays = build([[150, 10, 60, 20], [1, 1, 5, 5]], on_bad_box=policy)
    assert len(arrays.boxes) == kept
    severity, count, places = found(arrays)["box-leaves-image"]
    assert (severity, count, places) == (
        "error" if policy == "error" else "warning", 1, ("annotation 10, image 1 'a.jpg'",),
    )  # fmt: skip
    if policy == "error":
        with pytest.raises(DataError, match=r"leaves its image: boxes.csv \[annotation 10, image 1 'a.jpg'\]"):
            refuse_errors(arrays.findings)
    elif policy == "drop":
        assert "left out" in arrays.notes[0]


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="on_bad_box must be one of clip, drop, error, got 'keep'"):
        build([], on_bad_box="keep")


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
    assert arrays.areas[3] == 800
    assert arrays.notes[0].startswith("1 annotation without a usable 'area', width x height of the box is taken: ")


def test_an_area_of_zero_stays_as_in_the_file(write_annotations, content):
    content["annotations"][0]["area"] = 0
    assert read_annotations(write_annotations(content)).areas[0] == 0


def test_a_missing_iscrowd_is_no_crowd_and_said(write_annotations, content):
    for annotation in content["annotations"]:
        del annotation["iscrowd"]
    arrays = read_annotations(write_annotations(content))
    assert not arrays.crowd.any()
    assert found(arrays)["iscrowd-assumed"][:2] == ("note", 7)


def test_annotations_need_no_id(write_annotations, content):
    for annotation in content["annotations"]:
        del annotation["id"]
    content["annotations"][1]["bbox"] = [0, 0, 0, 0]
    arrays = read_annotations(write_annotations(content))
    assert len(arrays.boxes) == 6
    assert found(arrays)["box-without-size"][2] == ("annotation number 2, image 7 'b.png'",)
    assert annotation_name(NO_ID + 1) == "annotation number 2"


def test_a_file_without_objects_is_a_data_set_of_empty_images(write_annotations, content):
    content["annotations"] = []
    arrays = read_annotations(write_annotations(content))
    assert arrays.boxes.shape == (0, 4)
    assert arrays.offsets.tolist() == [0] * 7
    assert found(arrays)["image-without-objects"][1] == 6


def test_the_fingerprint_is_the_sha256_of_the_file(write_annotations, content):
    path = write_annotations(content)
    assert read_annotations(path).fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_outlines_change_nothing(write_annotations, content):
    plain = read_annotations(write_annotations(content))
    for annotation in content["annotations"]:
        annotation["segmentation"] = {"counts": [1, 2, 3], "size": [4, 5]} if annotation["iscrowd"] else [[1.0] * 8]
    outlined = read_annotations(write_annotations(content))
    np.testing.assert_array_equal(plain.boxes, outlined.boxes)
    np.testing.assert_array_equal(plain.labels, outlined.labels)


def test_corners_where_sides_are_meant_are_refused(write_annotations, content):
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    content["annotations"][4]["bbox"] = [50, 10, 90, 30]  # cut off at the border, as the others are
    arrays, findings = inspect_coco(write_annotations(content))
    assert arrays is not None
    assert findings[0].fault.name == "boxes-xyxy"
    with pytest.raises(DataError, match=r"reads? as \[x1, y1, x2, y2\] where \[x, y, width, height\] is meant"):
        refuse_errors(findings)


def test_shares_of_the_image_where_pixels_are_meant_are_refused():
    arrays = build([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1]])
    assert found(arrays)["boxes-relative"][:2] == ("error", 2)
    assert "boxes-relative" not in found(build([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 2]]))


def test_boxes_that_are_written_twice_are_kept_and_named():
    arrays = build([[1, 1, 9, 9], [1, 1, 9, 9], [1, 1, 9, 9], [1, 1, 9, 8]], labels=[0, 0, 1, 0])
    assert len(arrays.boxes) == 4
    assert found(arrays)["box-duplicate"] == ("warning", 1, ("annotation 11, image 1 'a.jpg'",))
    assert near_duplicate_boxes(arrays, iou=0.8).tolist() == [[0, 3], [1, 3]]


def test_seven_nearly_equal_boxes_of_one_class_are_in_the_blood_cells(shared_data):
    found_pairs = []
    for split in ("train", "val", "test"):
        arrays = read_annotations(shared_data / "bccd" / "annotations" / f"instances_{split}2017.json")
        found_pairs.append(len(near_duplicate_boxes(arrays)))
    assert found_pairs == [4, 2, 1]  # as the data set's README says


def test_a_file_name_of_two_images_is_named():
    arrays = build([], names=("a.jpg", "a.jpg"))
    assert found(arrays)["file-name-twice"] == ("warning", 2, ("image 1 'a.jpg'", "image 2 'a.jpg'"))


@pytest.mark.parametrize(
    ("classes", "kind", "severity"),
    [
        (("cat", "cat"), "class-name-twice", "error"),
        (("traffic light", "Traffic_Light "), "class-name-alike", "warning"),
        (("cat", " "), "class-name-empty", "warning"),
    ],
)
def test_names_of_classes_that_can_be_confused_are_named(classes, kind, severity):
    names = found(build([], classes=classes))
    assert names[kind][0] == severity
    assert names[kind][2][-1] == f"category 2 {classes[1]!r}"
    assert not any(name.startswith("class-name") for name in found(build([])))


def test_annotations_survive_pickling_for_processes_that_are_spawned():
    arrays = build([[1, 1, 5, 5]])
    again = pickle.loads(pickle.dumps(arrays))
    assert again.findings == arrays.findings
    np.testing.assert_array_equal(again.boxes, arrays.boxes)
    assert list(again.file_names) == ["a.jpg", "b.jpg"]


SIZES = np.array([[100, 200], [50, 60]])


def usable(owner, boxes, policy):
    """The positions that stay, the clipped corners, what was found, and what was read."""
    m = len(owner)
    zeros = np.zeros(m)
    names, numbers = FlatText(["a.jpg", "b.jpg"]), np.arange(m) + 100
    raw = RawAnnotations(
        (1,), ("cat",), np.array([7, 9]), names, SIZES, np.array(owner), zeros, boxes, zeros, zeros > 0, numbers
    )
    findings = Findings("a")
    order, corners = usable_boxes(raw, findings, policy)
    return order, corners, {fault.name: count for fault, count in findings.counts.items() if count}, raw


def test_usable_boxes_are_sorted_by_image_and_stay_in_order_within():
    boxes = np.array([[1, 1, 5, 5], [2, 2, 5, 5], [3, 3, 5, 5], [4, 4, 5, 5.0]])
    order, corners, found, _ = usable([1, 0, 1, 0], boxes, "clip")
    assert order is not None
    assert order.tolist() == [1, 3, 0, 2]
    assert corners[0].tolist() == [1, 1, 6, 6]
    assert found == {}


@pytest.mark.parametrize(("policy", "kept"), [("clip", [0, 5]), ("error", [0, 5]), ("drop", [5])])
def test_each_trouble_is_counted_under_its_kind(policy, kept):
    boxes = np.array([[55, 1, 10, 5], [np.nan, 1, 1, 1], [1, 1, 0, 1], [60, 1, 5, 5], [1, 1, -1, np.inf], [1, 1, 5, 5]])
    order, _, found, raw = usable([1] * 6, boxes, policy)
    assert order is not None
    assert order.tolist() == kept
    assert found == {
        "box-not-finite": 2, "box-without-size": 1, "box-outside": 1, "box-leaves-image": 1, "boxes-mostly-unusable": 4,
    }  # fmt: skip
    assert str(raw.object_place(3)) == "annotation 103, image 9 'b.jpg'"


def test_exactly_half_may_be_unusable():
    _, _, found, _ = usable([0, 0], np.array([[1, 1, 0, 0], [1, 1, 5, 5.0]]), "clip")
    assert "boxes-mostly-unusable" not in found


def test_boxes_that_all_stay_in_order_are_not_copied():
    assert usable([0, 0, 1], np.ones((3, 4)), "clip")[0] is None
