from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.detection.anchors import AnchorGenerator
from retina.doctor.detector_view import Lens, look_through, padding_share, sizes_table, view_findings

ANCHORS = AnchorGenerator()


def fitted(boxes: torch.Tensor, canvas: tuple[int, int]) -> torch.Tensor:
    """Stand for the anchors: boxes of at least 40 pixels in width fit."""
    assert canvas[0] % 32 == canvas[1] % 32 == 0
    return torch.where(boxes[:, 2] - boxes[:, 0] >= 40, 0.9, 0.3)


def lens(scale=2, **changes) -> Lens:
    settings = {
        "resized": lambda h, w: (h * scale, w * scale),
        "best_iou": fitted,
        "max_detections": 100,
        "batch_size": 2,
    }
    return Lens(**{**settings, **changes})


def test_boxes_are_seen_in_pixels_of_the_input(data):
    view = look_through(data.open(), lens(scale=2))
    assert view.boxes[0].tolist() == [8, 12, 48, 72]
    assert view.sides[1].tolist() == [51, 40]
    assert view.sizes.tolist() == [[96, 128]] * 4
    assert view.objects_of_image.tolist() == [2] * 4
    assert view.original_areas[:2].tolist() == [600, 510]


def test_crowds_are_no_objects_and_boxes_are_clipped(data):
    data.content["annotations"][0]["iscrowd"] = 1
    data.content["annotations"][1]["bbox"] = [50, 10, 30, 20]
    view = look_through(data.write().open(), lens(scale=1))
    assert len(view.boxes) == 7
    assert view.boxes[0].tolist() == [50, 10, 64, 30]


def test_objects_are_counted_by_class_and_size_before_and_after(data):
    values = look_through(data.open(), lens(scale=5)).summary()
    assert values["sizes_original"] == {"small": 8, "medium": 0, "large": 0}
    assert values["sizes_network"] == {"small": 0, "medium": 0, "large": 8}
    assert [(row["name"], row["objects"], row["images"], row["large"]) for row in values["classes"]] == [
        ("person", 4, 4, 4), ("dog", 4, 4, 4),
    ]  # fmt: skip
    assert values["objects_per_image"]["most"] == 2
    assert values["shorter_side_network"]["least"] == 100


def test_what_no_anchor_reaches_is_told_worst_first(data):
    dataset = data.open()
    view = look_through(dataset, lens(scale=1))
    assert view.summary()["share_unreached"] == 1
    assert look_through(dataset, lens(scale=2)).summary()["share_unreached"] == 0
    (finding,) = view_findings(dataset, view, 100, training=False)
    assert (finding.fault.name, finding.count, len(finding.places)) == ("object-unreached", 8, 5)
    assert finding.places[0].text == "'person' of 20 x 30, image 10 'train_0.jpg'"


def test_small_sides_and_crowded_images_are_told(data):
    dataset = data.open()
    view = look_through(dataset, lens(resized=lambda h, w: (h // 4, w // 4)))
    found = {f.fault.name: f for f in view_findings(dataset, view, 1, training=False)}
    assert found["object-under-8-pixels"].count == 8
    assert found["image-with-many-objects"].count == 4
    assert found["image-with-many-objects"].places[0].text == "image 10 'train_0.jpg' (2 of 1)"


def test_few_and_rare_objects_are_told_of_what_is_learned_from_only(data):
    image = data.content["images"][0]
    data.content["annotations"] = [
        {"id": i, "image_id": image["id"], "category_id": 1 if i < 1200 else 2, "bbox": [i % 30, i / 60, 9, 9]}
        for i in range(1211)
    ]
    dataset = data.write().open()
    view = look_through(dataset, lens(scale=5))
    assert "class-imbalance" not in {f.fault.name for f in view_findings(dataset, view, 9999, training=False)}
    (finding,) = [f for f in view_findings(dataset, view, 9999, training=True) if f.fault.name == "class-imbalance"]
    assert tuple(map(str, finding.places)) == ("'dog' (11 of 1200)",)
    few = view_findings(data.open("val"), look_through(data.open("val"), lens(scale=5)), 100, training=True)
    assert {f.fault.name: tuple(map(str, f.places)) for f in few}["class-tiny"] == ("'person' (2)", "'dog' (2)")


def test_size_bands_are_those_of_coco():
    assert sizes_table(np.array([0, 1023.9, 1024, 9215.9, 9216, 1e6])) == {"small": 2, "medium": 2, "large": 2}


def test_padding_is_what_a_batch_wastes():
    assert padding_share(np.array([[64, 64]] * 5), 2) == 0
    # One upright and one wide image on a canvas of 64 x 64, half of which is empty.
    assert padding_share(np.array([[64, 32], [32, 64]]), 2) == pytest.approx(0.5)
    assert padding_share(np.array([[60, 64]]), 8) == pytest.approx(1 - 60 / 64)
    assert padding_share(np.zeros((0, 2), dtype=np.int64), 8) == 0


def test_a_split_without_objects_has_a_view(data):
    data.content["annotations"] = []
    dataset = data.write().open()
    view = look_through(dataset, lens())
    assert view.summary()["objects"] == 0
    assert view_findings(dataset, view, 100, training=True) == ()
