"""What the folders of all formats have in common; the formats themselves have tests of their own."""

from __future__ import annotations

import pytest

from retina.errors import DataError
from retina.formats.csv_table import CsvFolder
from retina.formats.voc import VocFolder
from retina.formats.yolo import YoloFolder


@pytest.fixture
def tables(tmp_path, image, write):
    image(tmp_path / "a.jpg")
    write(tmp_path / "train.csv", "a.jpg,1,1,9,9,cat\n")
    write(tmp_path / "val.csv", "a.jpg,50,30,70,45,dog\n")
    return tmp_path


@pytest.mark.parametrize("kind", [CsvFolder, VocFolder, YoloFolder])
def test_a_root_that_is_not_there_is_told(kind):
    with pytest.raises(DataError, match=r"dataset.root|data.yaml"):
        kind(root="/nowhere/at/all").open("train")


def test_a_split_that_is_not_given_is_told(tables):
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        CsvFolder(root=str(tables), test=None).open("test")
    with pytest.raises(DataError, match="splits are train, val and test"):
        CsvFolder(root=str(tables)).open("mine")


@pytest.mark.parametrize(("policy", "num_boxes"), [("clip", 1), ("drop", 0)])
def test_the_policy_for_boxes_reaches_them(tables, policy, num_boxes):
    assert len(CsvFolder(root=str(tables), on_bad_box=policy).open("val").boxes) == num_boxes


def test_policies_reach_the_data_set_and_given_classes_are_kept(tables):
    folder = CsvFolder(root=str(tables), classes=["dog", "cat", "ant"], exif="apply", on_bad_image="error")
    dataset = folder.open("train")
    assert (dataset.exif, dataset.on_bad_image, dataset.class_names) == ("apply", "error", ("dog", "cat", "ant"))
    assert folder.class_names == ["dog", "cat", "ant"]
    assert folder.images_folder("train") == tables


def test_what_was_read_for_the_classes_is_not_kept_for_the_whole_run(tables):
    folder = CsvFolder(root=str(tables))
    folder.open("train")
    folder.open("val")
    assert folder._read == {}
