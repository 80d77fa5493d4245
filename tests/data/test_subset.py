"""A share of a data set: which images, nested, and everything that belongs to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.data.dataset import DetectionDataset, subset
from retina.data.shapes import ShapesFolder


@pytest.fixture
def dataset(coco_folder) -> DetectionDataset:
    return DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="train")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> DetectionDataset:
    root = str(tmp_path_factory.mktemp("shapes"))
    return ShapesFolder(root=root, num_train_images=40, num_val_images=1, image_size=128).open("train")


def test_an_image_of_a_share_is_the_image_of_the_whole(dataset):
    share = subset(dataset, 0.5)
    assert len(share) == 3
    places = [dataset.image_ids.tolist().index(image_id) for image_id in share.image_ids.tolist()]
    assert places == sorted(places)
    for index, place in enumerate(places):
        ours, whole = share.sample(index), dataset.sample(place)
        assert (ours.image == whole.image).all()
        assert ours.image_id == whole.image_id
        assert share.file_names[index] == dataset.file_names[place]
        for name in ("boxes", "labels", "crowd_boxes"):
            assert torch.equal(getattr(ours.targets, name), getattr(whole.targets, name))
    whole_truth, truth = dataset.ground_truth(), share.ground_truth()
    kept = set(share.image_ids.tolist())
    assert [a["bbox"] for a in truth["annotations"]] == [
        a["bbox"] for a in whole_truth["annotations"] if a["image_id"] in kept
    ]
    assert truth["categories"] == whole_truth["categories"]


def test_a_smaller_share_is_part_of_a_larger_one_and_seeds_differ(shapes):
    shares = [set(subset(shapes, fraction, seed=1).image_ids.tolist()) for fraction in (0.05, 0.1, 0.25, 0.8, 1.0)]
    assert [len(share) for share in shares] == [2, 4, 10, 32, 40]
    assert all(small < large for small, large in zip(shares, shares[1:], strict=False))
    assert shares[2] != set(subset(shapes, 0.25, seed=2).image_ids.tolist())


def test_how_many_images_are_left_out_is_said_and_the_fingerprint_tells_the_share(shapes):
    share = subset(shapes, 0.25, seed=1)
    assert "30 images, left out by dataset.fraction=0.25 (fraction_seed=1)" in share.notes
    assert set(shapes.notes) < set(share.notes)
    prints = {subset(shapes, fraction, seed=seed).fingerprint for fraction in (0.25, 0.5, 1.0) for seed in (1, 2)}
    assert len(prints) == 5  # the whole has one, whatever the seed
    assert share.fingerprint == subset(shapes, 0.25, seed=1).fingerprint
    assert all(len(fingerprint) == 64 for fingerprint in prints)


def test_a_share_keeps_the_settings_of_the_whole(coco_folder):
    whole = DetectionDataset(
        coco_folder / "images", coco_folder / "instances.json", name="tiny", split="train", exif="apply",
        on_bad_image="error",
    )  # fmt: skip
    share = subset(whole, 0.5)
    assert (share.name, share.split, share.exif, share.on_bad_image) == ("tiny", "train", "apply", "error")
    assert share.images_root == whole.images_root
    assert share.annotations_file == whole.annotations_file


def test_the_smallest_share_is_one_image_and_the_whole_is_the_data_set_itself(shapes):
    assert len(subset(shapes, 1e-9)) == 1
    assert subset(shapes, 1.0) is shapes
    assert subset(shapes, 0.999) is shapes  # rounds to all


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_what_is_no_share_is_refused(shapes, fraction):
    with pytest.raises(ValueError, match=r"fraction must be greater than 0 and at most 1"):
        subset(shapes, fraction)


def test_images_are_taken_in_the_order_asked_for_with_their_objects(dataset):
    annotations = dataset.annotations
    taken = annotations.take(np.array([4, 3, 0]))
    assert taken.image_ids.tolist() == annotations.image_ids[[4, 3, 0]].tolist()
    for index, place in enumerate((4, 3, 0)):
        ours = slice(taken.offsets[index], taken.offsets[index + 1])
        theirs = slice(annotations.offsets[place], annotations.offsets[place + 1])
        for name in ("boxes", "training_boxes", "labels", "areas", "crowd", "object_ids"):
            assert (getattr(taken, name)[ours] == getattr(annotations, name)[theirs]).all()
    assert len(taken.boxes) == taken.offsets[-1]
