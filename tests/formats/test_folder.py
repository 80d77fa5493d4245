"""What the folders of all formats have in common; the formats themselves have tests of their own."""

from __future__ import annotations

import shutil

import pytest

from retina.errors import ConfigError, DataError
from retina.formats.csv_table import CsvFolder
from retina.formats.folder import check_class_names, given_classes
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
    assert folder.class_names == ("dog", "cat", "ant")
    assert dataset.images_root == tables


def test_what_was_read_for_the_classes_is_not_kept_for_the_whole_run(tables):
    folder = CsvFolder(root=str(tables))
    folder.open("train")
    folder.open("val")
    assert folder._read == {}


def test_classes_are_those_of_the_setting_else_of_the_file_else_unknown(tmp_path):
    assert given_classes(None, tmp_path) is None
    (tmp_path / "classes.txt").write_text("\ufeffdog\n\n big cat \n", encoding="utf-8")
    assert given_classes(None, tmp_path) == ["dog", "big cat"]
    assert given_classes(["b", "a"], tmp_path) == ["b", "a"]
    (tmp_path / "other.csv").write_text("b,1\na b,0\n")
    assert given_classes("other.csv", tmp_path) == ["a b", "b"]


@pytest.mark.parametrize(
    ("names", "what"), [([], "no classes"), (["a", " "], "no names"), (["a", "b", "a"], "twice: a")]
)
def test_names_that_cannot_be_told_apart_are_refused(names, what):
    with pytest.raises(ConfigError, match=what):
        check_class_names(names, "dataset.classes")


def test_a_list_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        given_classes("nowhere.txt", tmp_path)
    (tmp_path / "latin.txt").write_bytes("kätzchen".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        given_classes("latin.txt", tmp_path)


def test_all_errors_of_other_formats_are_told_and_their_images_looked_at(data, tmp_path):
    images, labels = tmp_path / "yolo/images/train", tmp_path / "yolo/labels/train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number in range(3):
        shutil.copy(data.image(number), images / f"{number}.jpg")
    (labels / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (labels / "1.txt").write_text("7 0.5 0.5 0.2 0.2\n")  # there is no class 7
    (labels / "2.txt").write_text("0 zero 0.5 0.2 0.2\n")
    (tmp_path / "yolo/data.yaml").write_text("train: images/train\nval: images/train\nnames: [cell]\n")
    opened = YoloFolder(name="tiny", root=str(tmp_path / "yolo")).inspect("train")
    assert len({f.fault.name for f in opened.findings if f.fault.severity == "error"}) == 2
    assert opened.dataset is not None
    assert opened.dataset.sample(0).image.shape == (48, 64, 3)
    assert opened.annotations_file is None


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(VocFolder, "difficult"), (VocFolder, "exif"), (YoloFolder, "on_bad_image"), (CsvFolder, "on_bad_box")],
)
def test_a_word_that_a_setting_does_not_know_is_told_when_a_folder_is_made_in_python(kind, setting):
    with pytest.raises(ValueError, match=f"{setting} must be one of .*, got 'maybe'"):
        kind(**{setting: "maybe"})
