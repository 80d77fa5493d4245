from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retina.data.dataset import DetectionDataset
from retina.errors import DataError

# README of the shared folder: what pycocotools must print for its detections.
OFFICIAL = [
    0.5045806987249628, 0.6969727247299577, 0.5729816669904824, 0.5856257209410443, 0.5193996948036719,
    0.5013978986347466, 0.38681277964578054, 0.5936795762842003, 0.595352982877607, 0.6398109626113442,
    0.5664205978994309, 0.5642905982905982,
]  # fmt: skip


@pytest.fixture
def dataset(coco_folder) -> DetectionDataset:
    return DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="val")


def test_a_sample_has_the_stored_pixels_and_its_boxes_with_crowds_apart(dataset, pixels):
    sample = dataset.sample(0)
    np.testing.assert_array_equal(sample.image, pixels[40])
    assert sample.image_id == 40
    assert sample.original_size == (60, 80)
    torch.testing.assert_close(sample.targets.boxes, torch.tensor([[10, 20, 40.5, 35.25], [40, 30, 48, 38]]))
    assert sample.targets.labels.tolist() == [1, 2]
    assert sample.targets.crowd_boxes.tolist() == [[0, 0, 80, 60]]


def test_every_image_can_be_read_whatever_its_name_or_channels(dataset):
    assert len(dataset) == 6
    for index in range(6):
        sample = dataset.sample(index)
        assert sample.image.shape == (*sample.original_size, 3)
        assert sample.targets.boxes.dtype == torch.float32
        assert sample.targets.labels.dtype == torch.int64


def test_an_image_without_objects_is_kept(dataset):
    targets = dataset.sample(3).targets
    assert targets.boxes.shape == (0, 4)
    assert targets.labels.shape == (0,)
    assert targets.crowd_boxes.shape == (0, 4)


def test_changing_a_sample_does_not_change_the_data_set(dataset):
    sample = dataset.sample(0)
    sample.targets.boxes.zero_()
    sample.targets.labels.zero_()
    sample.image[:] = 0
    again = dataset.sample(0)
    assert again.targets.boxes[0].tolist() == [10, 20, 40.5, 35.25]
    assert again.targets.labels.tolist() == [1, 2]
    assert again.image.any()


def test_ground_truth_is_the_file_with_annotation_ids_from_one(dataset, content):
    truth = dataset.ground_truth()
    assert [annotation["id"] for annotation in truth["annotations"]] == list(range(1, 8))
    assert truth["images"] == content["images"]
    assert truth["categories"] == sorted(content["categories"], key=lambda category: category["id"])

    def known(annotations):
        return sorted((a["image_id"], a["category_id"], a["bbox"], a["area"], a["iscrowd"]) for a in annotations)

    assert known(truth["annotations"]) == known(content["annotations"])
    json.dumps(truth)  # plain Python values all through


def test_counts_and_fingerprint_are_told(dataset):
    assert dataset.num_classes == 3
    assert dataset.num_objects == 6  # the crowd is no object
    assert len(dataset.fingerprint) == 64


def test_annotations_alone_can_be_opened(coco_folder):
    dataset = DetectionDataset(None, coco_folder / "instances.json", name="tiny", split="val")
    assert len(dataset.ground_truth()["annotations"]) == 7
    with pytest.raises(ValueError, match="'tiny' was opened without a folder of images"):
        dataset.sample(0)


def test_a_missing_folder_of_images_is_told(coco_folder):
    with pytest.raises(DataError, match=r"the folder of val images of 'tiny' does not exist: .*/nowhere"):
        DetectionDataset(coco_folder / "nowhere", coco_folder / "instances.json", name="tiny", split="val")


def test_the_wrong_folder_of_images_is_told_at_once(coco_folder):
    with pytest.raises(DataError, match=r"image 40 'a.png' cannot be read"):
        DetectionDataset(coco_folder / "images" / "deep", coco_folder / "instances.json", name="tiny", split="val")


def test_the_first_image_may_be_missing_as_any_other(coco_folder):
    (coco_folder / "images" / "a.png").unlink()
    dataset = DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="val")
    with pytest.raises(DataError, match=r"image 40 'a.png' cannot be read"):
        dataset.sample(0)


def test_the_folder_of_images_itself_may_be_a_link(coco_folder):
    (coco_folder / "link").symlink_to(coco_folder / "images")
    dataset = DetectionDataset(coco_folder / "link", coco_folder / "instances.json", name="tiny", split="val")
    assert dataset.sample(4).image_id == 99


def test_a_missing_image_is_told_with_its_id_and_name(dataset, coco_folder):
    (coco_folder / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"image 7 'b.png' cannot be read \(No such file"):
        dataset.sample(1)


def test_a_damaged_image_is_told_with_its_id_and_name(dataset, coco_folder):
    (coco_folder / "images" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image 7 'b.png' cannot be decoded"):
        dataset.sample(1)


def test_an_image_of_another_size_is_told_with_both_sizes(coco_folder, content):
    content["images"][1]["height"] = 81
    (coco_folder / "instances.json").write_text(json.dumps(content))
    dataset = DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="val")
    with pytest.raises(DataError, match=r"image 7 'b.png' has 60 x 80 pixels, but 60 x 81 in .*instances.json"):
        dataset.sample(1)


def test_sides_that_are_swapped_point_to_the_exif_setting(coco_folder, content):
    content["images"][1].update(height=60, width=80)
    (coco_folder / "instances.json").write_text(json.dumps(content))
    dataset = DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="val")
    with pytest.raises(DataError, match=r"dataset\.exif=apply"):
        dataset.sample(1)


def test_an_unknown_exif_policy_is_refused(coco_folder):
    with pytest.raises(ValueError, match=r"exif must be one of ignore, apply, got 'turn'"):
        DetectionDataset(None, coco_folder / "instances.json", name="tiny", split="val", exif="turn")


def test_ground_truth_gives_the_official_numbers_of_coco(shared_data, capsys):
    folder = shared_data / "cocoeval100"
    dataset = DetectionDataset(None, folder / "instances_val2014_100.json", name="coco", split="val")
    numbers = coco_numbers(dataset, folder / "instances_val2014_fakebbox100_results.json")
    np.testing.assert_allclose(numbers, OFFICIAL, rtol=0, atol=1e-9)


def test_ground_truth_evaluates_as_the_file_does(coco_folder, dataset, content):
    # Annotation 0 must be found: pycocotools would take the match for none, so the file's ids are moved up.
    detections = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.5}
        for a in content["annotations"]
    ]
    path = coco_folder / "detections.json"
    path.write_text(json.dumps(detections))
    numbers = coco_numbers(dataset, path)
    assert numbers[0] == pytest.approx(1.0)


def coco_numbers(dataset: DetectionDataset, detections) -> np.ndarray:
    truth = COCO()
    truth.dataset = dataset.ground_truth()
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def test_real_images_of_coco_can_all_be_read(shared_data):
    folder = shared_data / "coco158"
    dataset = DetectionDataset(
        folder / "val2017", folder / "annotations" / "instances_val2017.json", name="coco", split="val"
    )
    assert dataset.num_classes == 80
    assert dataset.category_ids[-1] == 90
    assert dataset.crowd.sum() == 8
    for index in range(0, len(dataset), 7):
        assert dataset.sample(index).image.shape[2] == 3
