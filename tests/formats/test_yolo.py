"""YOLO: shares to pixels by hand, splits as folders and lists, outlines, and every kind of broken row."""

from __future__ import annotations

import numpy as np
import pytest

from retina.errors import DataError
from retina.formats.yolo import YoloFolder, label_file, label_places

YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


@pytest.fixture
def mine(tmp_path, image, write):
    write(tmp_path / "data.yaml", YAML)
    image(tmp_path / "images" / "train" / "a.jpg")
    image(tmp_path / "images" / "train" / "deep" / "a.png", (50, 100))
    image(tmp_path / "images" / "train" / "none.jpg")
    image(tmp_path / "images" / "val" / "v.jpg")
    write(tmp_path / "labels" / "train" / "a.txt", "1 0.5 0.5 0.5 0.25\n\n0 0.1 0.1 0.1 0.1\n")
    write(tmp_path / "labels" / "train" / "deep" / "a.txt", "")
    write(tmp_path / "labels" / "val" / "v.txt", "0 0.5 0.5 1 1\n")
    return tmp_path


def test_shares_become_pixels_of_each_image(mine):
    dataset = YoloFolder(root=str(mine)).open("train")
    assert list(dataset.file_names) == ["a.jpg", "deep/a.png", "none.jpg"]
    assert dataset.sizes.tolist() == [[40, 60], [50, 100], [40, 60]]
    # 60 x 40: centre (30, 20), 30 wide, 10 high.
    np.testing.assert_allclose(dataset.boxes, [[15, 15, 30, 10], [3, 2, 6, 4]])
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.offsets.tolist() == [0, 2, 2, 2]
    assert "image 'none.jpg'" in next(str(f) for f in dataset.findings if f.fault.name == "image-without-labels")


def test_classes_are_those_of_the_yaml_in_every_split(mine):
    folder = YoloFolder(root=str(mine / "data.yaml"))
    assert folder.splits == ("train", "val")
    assert folder.open("val").class_names == folder.open("train").class_names == ("cat", "dog")
    assert YoloFolder(root=str(mine), classes=["c", "d"]).open("val").class_names == ("c", "d")
    with pytest.raises(DataError, match="1 names, but .* has 2 classes"):
        YoloFolder(root=str(mine), classes=["c"]).open("val")


def test_an_outline_is_read_as_its_box_and_counted(mine, write):
    write(mine / "labels" / "val" / "v.txt", "0 0.1 0.2 0.5 0.2 0.3 0.9\n")
    dataset = YoloFolder(root=str(mine)).open("val")
    np.testing.assert_allclose(dataset.boxes, [[6, 8, 24, 28]])
    assert "1 outline (polygon), read as the box around it" in dataset.notes[0]


def test_keypoints_are_left_out_where_the_yaml_tells_their_shape(mine, write):
    write(mine / "data.yaml", YAML + "kpt_shape: [2, 3]\n")
    write(mine / "labels" / "val" / "v.txt", "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 1\n")
    np.testing.assert_allclose(YoloFolder(root=str(mine)).open("val").boxes, [[15, 10, 30, 20]])


def test_a_split_may_be_a_list_of_images(mine, write):
    write(mine / "data.yaml", YAML.replace("images/train", "train.txt"))
    write(mine / "train.txt", f"./images/train/a.jpg\n{mine}/images/train/none.jpg\nimages/train/a.jpg\n")
    dataset = YoloFolder(root=str(mine)).open("train")
    assert list(dataset.file_names) == ["images/train/a.jpg", "images/train/none.jpg"]
    assert len(dataset.boxes) == 2
    assert any(finding.fault.name == "image-listed-twice" for finding in dataset.findings)
    write(mine / "train.txt", "../../etc/a.jpg\n")
    with pytest.raises(DataError, match="line 1 of .*train.txt"):
        YoloFolder(root=str(mine)).open("train")


def test_a_split_may_be_several_folders(mine, write):
    write(mine / "data.yaml", YAML.replace("images/train", "[images/train, images/val]"))
    dataset = YoloFolder(root=str(mine)).open("train")
    assert list(dataset.file_names) == ["train/a.jpg", "train/deep/a.png", "train/none.jpg", "val/v.jpg"]
    assert len(dataset.boxes) == 3


def test_a_folder_that_is_a_link_has_its_labels_beside_the_link(mine, tmp_path_factory, image):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    image(elsewhere / "a.jpg")
    (mine / "images" / "linked").symlink_to(elsewhere)
    (mine / "labels" / "linked").mkdir()
    (mine / "labels" / "linked" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (mine / "data.yaml").write_text(YAML.replace("images/train", "images/linked"))
    assert len(YoloFolder(root=str(mine)).open("train").boxes) == 1


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("0 0.5 0.5 0.5", "row-broken"),
        ("cat 0.5 0.5 0.5 0.5", "row-broken"),
        ("0 0.5 0.5 0.5 wide", "row-broken"),
        ("0.5 0.5 0.5 0.5 0.5", "row-broken"),
        ("nan 0.5 0.5 0.5 0.5", "row-broken"),
        ("0 0.5 0.5 0.5 0.5 0.9", "row-with-score"),
        ("2 0.5 0.5 0.5 0.5", "class-out-of-range"),
        ("-1 0.5 0.5 0.5 0.5", "class-out-of-range"),
        ("0 30 20 10 10", "not-normalised"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(mine, write, row, kind):
    file = write(mine / "labels" / "val" / "v.txt", f"0 0.5 0.5 1 1\n{row}\n")
    findings = YoloFolder(root=str(mine)).inspect("val").findings
    errors = [finding for finding in findings if finding.fault.severity == "error"]
    assert [finding.fault.name for finding in errors] == [kind]
    assert f"line 2 of {file}" in errors[0].places[0].text
    with pytest.raises(DataError):
        YoloFolder(root=str(mine)).open("val")


def test_values_that_are_not_finite_are_left_out_and_counted(mine, write):
    write(mine / "labels" / "val" / "v.txt", "0 0.5 0.5 1 1\n0 nan 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n0 .5 .5 .1 .1\n")
    dataset = YoloFolder(root=str(mine)).open("val")
    assert len(dataset.boxes) == 2
    kinds = {finding.fault.name: finding.count for finding in dataset.findings}
    assert kinds["box-not-finite"] == kinds["box-without-size"] == 1


def test_a_split_without_a_single_label_file_is_an_error(mine):
    (mine / "labels" / "val" / "v.txt").unlink()
    with pytest.raises(DataError, match="looked for .*labels/val/v.txt"):
        YoloFolder(root=str(mine)).open("val")


@pytest.mark.parametrize("policy", ["skip", "error"])
def test_an_image_without_a_readable_header_follows_the_policy(mine, policy):
    (mine / "images" / "train" / "a.jpg").write_bytes(b"no image")
    folder = YoloFolder(root=str(mine), on_bad_image=policy)
    if policy == "error":
        with pytest.raises(DataError, match="has no readable header"):
            folder.open("train")
        return
    dataset = folder.open("train")
    assert list(dataset.file_names) == ["deep/a.png", "none.jpg"]
    assert "a.jpg has no readable header" in dataset.notes[0]
    assert "objects in it: 2" in dataset.notes[0]


def test_labels_stand_in_labels_in_place_of_the_last_images():
    assert label_places("/d/images/x/images/a.b.jpg") == ["/d/images/x/labels/a.b.txt", "/d/images/x/images/a.b.txt"]
    assert label_places("/d/x/a.jpg") == ["/d/x/a.txt"]
    assert label_file("/nowhere/a.jpg") is None


def test_a_split_that_the_yaml_does_not_have_is_told(mine):
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        YoloFolder(root=str(mine)).open("test")
