from __future__ import annotations

import json

from retina.doctor.examine import examine
from tests.sound_data import sound_content


def named(examination):
    return {(split, f.fault.name) for split, f in examination.findings() if f.fault.severity != "note"}


def test_a_sound_data_set_has_neither_errors_nor_warnings(data):
    examination = examine(data.folder(), ["train", "val"])
    assert named(examination) == set()
    assert examination.counts()["error"] == examination.counts()["warning"] == 0
    assert set(examination.splits) == {"train", "val"}


def test_findings_come_severest_first_with_their_split(data):
    data.image(1).write_bytes(b"")
    data.content["annotations"][0]["bbox"] = [50, 6, 30, 30]
    (data.root / "val" / "val_0.jpg").write_bytes(data.image(3).read_bytes())
    examination = examine(data.write().folder(), ["train", "val"])
    assert [(split, f.fault.name) for split, f in examination.findings() if f.fault.severity != "note"] == [
        ("train", "image-zero-bytes"), ("", "split-leak"), ("train", "box-leaves-image"),
    ]  # fmt: skip


def test_without_images_none_is_opened(data):
    data.image(1).write_bytes(b"")
    assert named(examine(data.folder(), ["train"], images="none")) == set()
    assert named(examine(data.folder(), ["train"], images="header")) == {("train", "image-zero-bytes")}


def test_nearly_equal_boxes_of_one_class_are_told_as_pairs(data):
    box = data.content["annotations"][0]
    data.content["annotations"].append({**box, "id": 7, "bbox": [4, 6, 20.5, 30]})
    found = [f for _, f in examine(data.write().folder(), ["train"], images="none").findings()]
    (finding,) = [f for f in found if f.fault.name == "box-near-duplicate"]
    assert tuple(map(str, finding.places)) == ("annotation 1001 and annotation 7 ('person'), image 10 'train_0.jpg'",)


def test_classes_that_differ_or_are_only_scored_are_told(data):
    data.content["annotations"] = [a for a in data.content["annotations"] if a["category_id"] == 1]
    examination = examine(data.write().folder(), ["train", "val"], images="none")
    assert named(examination) == {("", "class-only-evaluated")}
    content = sound_content("val")
    content["categories"].append({"id": 5, "name": "cat"})
    (data.root / "val.json").write_text(json.dumps(content))
    (finding,) = [f for _, f in examine(data.folder(), ["train", "val"], images="none").findings()
                  if f.fault.severity == "error"]  # fmt: skip
    assert finding.fault.name == "splits-differ-in-classes"
    assert tuple(map(str, finding.places)) == ("category 5 'cat' (only in val)",)


def test_one_split_that_cannot_be_opened_does_not_hide_the_other(data):
    data.text = "{"
    data.image(1).unlink()
    (data.root / "val" / "val_1.jpg").unlink()
    examination = examine(data.write().folder(), ["train", "val"])
    assert ("val", "image-missing") in named(examination)
    assert examination.splits["train"].dataset is None


def test_a_sound_split_is_opened_with_its_images(data):
    opened = data.folder().inspect("train")
    assert opened.dataset is not None
    assert opened.dataset.sample(0).image.shape == (48, 64, 3)
    assert [f for f in opened.findings if f.fault.severity != "note"] == []
    assert opened.annotations_file == data.file


def test_all_errors_are_told_not_only_the_first_and_images_are_still_looked_at(data):
    data.content["annotations"][0]["iscrowd"] = 5
    data.content["annotations"][1]["image_id"] = 999
    data.content["annotations"][2]["category_id"] = "1"
    opened = data.write().folder().inspect("train")
    errors = {f.fault.name for f in opened.findings if f.fault.severity == "error"}
    assert len(errors) == 3


def test_the_first_image_may_be_missing(data):
    data.image(0).unlink()
    opened = data.folder().inspect("train")
    assert opened.dataset is not None
    assert len(opened.dataset) == 4


def test_what_cannot_be_opened_at_all_is_an_error_with_its_reason(data):
    data.text = "{"
    opened = data.write().folder().inspect("train")
    assert opened.dataset is None
    assert [f.fault.severity for f in opened.findings][0] == "error"
    data.file.unlink()
    (finding,) = data.folder().inspect("train").findings
    assert finding.fault.name == "split-unreadable"
    assert "the train annotations of data set 'tiny' are missing" in finding.places[0].text
    assert "dataset.root=" in finding.fault.fix
