from __future__ import annotations

import os

import numpy as np
import pytest

from retina.data.catalogue import BAD_IMAGE, IMAGE_GRAY, IMAGE_MISSING
from retina.data.checks.start import check_before_training, check_files, check_on_main_rank, fast_check, skipped
from retina.data.findings import Finding, Place
from retina.errors import DataError


def datasets(data, **settings):
    return {split: data.open(split, **settings) for split in ("train", "val")}


def test_sound_images_say_nothing(data):
    assert check_before_training(datasets(data), "full") == {"train": (), "val": ()}


def test_one_bad_image_to_learn_from_is_borne_and_told(data):
    data.image(1).unlink()
    ((name, sentence),) = check_on_main_rank(datasets(data), "fast")
    assert name == "train"
    assert sentence.startswith("warning: 1 image file is missing, replaced by other images")
    assert "image 11 'train_1.jpg'" in sentence


def test_more_than_the_trainer_bears_are_refused_before_it_starts(data):
    data.image(1).unlink()
    data.image(2).write_bytes(b"")
    with pytest.raises(DataError, match=r"1 more kind of errors.*doctor\.py") as caught:
        check_on_main_rank(datasets(data), "fast")
    assert caught.value.exit_status == 2


def test_with_the_policy_error_a_single_one_is_refused(data):
    data.image(1).unlink()
    with pytest.raises(DataError, match=r"image 11 'train_1\.jpg'"):
        check_before_training(datasets(data, on_bad_image="error"), "fast")


def test_an_image_that_is_scored_must_be_there(data):
    (data.root / "val" / "val_1.jpg").unlink()
    with pytest.raises(DataError, match=r"image 51 'val_1\.jpg'"):
        check_before_training(datasets(data), "fast")


def test_a_cut_off_image_is_found_by_the_full_check_only(data):
    content = data.image(1).read_bytes()
    data.image(1).write_bytes(content[:-500])
    assert check_before_training(datasets(data), "fast")["train"] == ()
    (finding,) = check_before_training(datasets(data), "full")["train"]
    assert finding.fault.name == "image-truncated"


def test_the_check_can_be_switched_off(data):
    data.image(1).unlink()
    data.image(2).unlink()
    assert check_on_main_rank(datasets(data), "none") == []


def test_how_many_headers_were_read_is_said(data, monkeypatch):
    monkeypatch.setitem(fast_check.__kwdefaults__, "max_headers", 2)
    told = check_on_main_rank({"train": data.open()}, "fast")
    line = "note: 2 images were not looked at, the headers of 2 of 4 were read; python tools/doctor.py looks at all"
    assert told == [("train", line)]


def test_bad_images_are_errors_until_training_tolerates_them():
    assert {fault.severity for fault in BAD_IMAGE} == {"error"}
    tolerated = skipped(Finding(IMAGE_MISSING, "images", 2, (Place("image 1"),)))
    assert tolerated.fault.severity == "warning"
    assert "replaced by other images" in str(tolerated)
    gray = Finding(IMAGE_GRAY, "images", 1, ())
    assert skipped(gray) is gray


def test_a_sound_folder_has_no_findings(data):
    assert fast_check(data.open()) == ()


def test_every_file_is_looked_for_and_none_is_opened(data):
    data.image(1).unlink()
    os.mkfifo(data.image(1))  # opening it would wait for ever
    data.image(2).write_bytes(b"")
    data.image(3).unlink()
    findings, bad = check_files(data.open())
    assert bad.tolist() == [False, True, True, True]
    assert {f.fault.name: tuple(map(str, f.places)) for f in findings} == {
        "image-not-a-file": ("image 11 'train_1.jpg'",),
        "image-zero-bytes": ("image 12 'train_2.jpg'",),
        "image-missing": ("image 13 'train_3.jpg'",),
    }


def test_folders_are_listed_instead_of_asking_for_every_file(data, monkeypatch):
    dataset, asked = data.open(), []
    monkeypatch.setattr("retina.data.checks.start.file_fault", lambda dataset, index: asked.append(index))
    assert np.array_equal(check_files(dataset)[1], np.zeros(4, dtype=bool))
    assert asked == []


def test_a_folder_that_is_a_link_to_elsewhere_is_not_trusted(data):
    (data.root / "other").mkdir()
    (data.root / "other" / "a.jpg").write_bytes(data.image(1).read_bytes())
    (data.root / "train" / "sub").symlink_to(data.root / "other")
    data.content["images"][1]["file_name"] = "sub/a.jpg"
    findings, bad = check_files(data.write().open())
    assert [f.fault.name for f in findings] == ["image-outside-folder"]
    assert bad.tolist() == [False, True, False, False]


def test_names_that_are_written_in_two_ways_are_found(data):
    data.content["images"][1]["file_name"] = "./train_1.jpg"
    assert check_files(data.write().open())[0] == ()


def test_what_was_sampled_is_said(data):
    for index in (0, 3):
        data.image(index).write_text("no image")
    findings = fast_check(data.open(), max_headers=2)  # the first and the last
    assert [(f.fault.name, f.count) for f in findings] == [("image-undecodable", 2), ("images-not-checked", 2)]
    assert "the headers of 2 of 4 were read" in str(findings[1])
