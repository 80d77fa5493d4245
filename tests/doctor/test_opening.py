from __future__ import annotations

import shutil

from retina.doctor.opening import open_split
from retina.formats.yolo import YoloFolder


def test_a_sound_split_is_opened_with_its_images(data):
    opened = open_split(data.folder(), "train")
    assert opened.dataset is not None
    assert opened.dataset.sample(0).image.shape == (48, 64, 3)
    assert [f for f in opened.findings if f.kind.severity != "note"] == []
    assert opened.annotations_file == data.file


def test_all_errors_are_told_not_only_the_first_and_images_are_still_looked_at(data):
    data.content["annotations"][0]["iscrowd"] = 5
    data.content["annotations"][1]["image_id"] = 999
    data.content["annotations"][2]["category_id"] = "1"
    opened = open_split(data.write().folder(), "train")
    errors = {f.kind.name for f in opened.findings if f.kind.severity == "error"}
    assert len(errors) == 3


def test_the_first_image_may_be_missing(data):
    data.image(0).unlink()
    opened = open_split(data.folder(), "train")
    assert opened.dataset is not None
    assert len(opened.dataset) == 4


def test_what_cannot_be_opened_at_all_is_an_error_with_its_reason(data):
    data.text = "{"
    opened = open_split(data.write().folder(), "train")
    assert opened.dataset is None
    assert [f.kind.severity for f in opened.findings][0] == "error"
    data.file.unlink()
    (finding,) = open_split(data.folder(), "train").findings
    assert finding.kind.name == "split-unreadable"
    assert "the train annotations of data set 'tiny' are missing" in finding.places[0].text
    assert "dataset.root=" in finding.kind.fix


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
    opened = open_split(YoloFolder(name="tiny", root=str(tmp_path / "yolo")), "train")
    assert len({f.kind.name for f in opened.findings if f.kind.severity == "error"}) == 2
    assert opened.dataset is not None
    assert opened.dataset.sample(0).image.shape == (48, 64, 3)
    assert opened.annotations_file is None
