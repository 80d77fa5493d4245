from __future__ import annotations

import pytest

from retina.data.folders import CocoFolder
from retina.errors import DataError

SPLIT = {"images": "images", "annotations": "instances.json"}


def test_splits_are_opened_relative_to_the_root(coco_folder):
    folder = CocoFolder("tiny", str(coco_folder), train=SPLIT, val=SPLIT)
    assert folder.splits == ("train", "val")
    dataset = folder.open("val")
    assert (dataset.name, dataset.split, len(dataset)) == ("tiny", "val", 6)


def test_absolute_paths_need_no_root(coco_folder):
    split = {name: str(coco_folder / path) for name, path in SPLIT.items()}
    assert len(CocoFolder("custom", None, train=split).open("train")) == 6


def test_paths_without_a_root_are_relative_to_the_working_directory(coco_folder, monkeypatch):
    monkeypatch.chdir(coco_folder)
    assert len(CocoFolder("custom", None, train=SPLIT).open("train")) == 6


def test_a_split_that_is_not_given_is_told(coco_folder):
    folder = CocoFolder("tiny", str(coco_folder), train=SPLIT)
    with pytest.raises(DataError, match=r"has no split 'test'; it has train") as caught:
        folder.open("test")
    assert "dataset.test.annotations is not given" in str(caught.value)


def test_a_split_of_nulls_is_not_given(coco_folder):
    folder = CocoFolder("custom", None, train={"images": None, "annotations": None})
    assert folder.splits == ()
    with pytest.raises(DataError, match=r"it has none"):
        folder.open("train")


def test_annotations_without_images_are_told(coco_folder):
    folder = CocoFolder("custom", str(coco_folder), train={"images": None, "annotations": "instances.json"})
    with pytest.raises(DataError, match=r"dataset.train.images=FOLDER"):
        folder.open("train")


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_a_missing_path_is_told_with_the_setting_that_says_it(coco_folder, part):
    folder = CocoFolder("tiny", str(coco_folder), train={**SPLIT, part: "nowhere"})
    with pytest.raises(DataError) as caught:
        folder.open("train")
    message = str(caught.value)
    assert f"the train {part} of data set 'tiny' are missing: {coco_folder / 'nowhere'}" in message
    assert f"dataset.root is {coco_folder} and dataset.train.{part} is nowhere" in message
    assert "fix:   dataset.root=FOLDER (the folder that holds nowhere)" in message
    assert caught.value.exit_status == 2


def test_a_missing_root_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"dataset.root is not given"):
        CocoFolder("coco", None, train=SPLIT).open("train")


def test_the_exif_policy_reaches_the_data_set(coco_folder):
    assert CocoFolder("tiny", str(coco_folder), train=SPLIT, exif="apply").open("train").exif == "apply"
