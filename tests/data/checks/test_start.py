from __future__ import annotations

import pytest

from retina.data.catalogue import BAD_IMAGE, IMAGE_GRAY, IMAGE_MISSING
from retina.data.checks.fast import fast_check
from retina.data.checks.start import check_before_training, check_on_main_rank, skipped
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
    assert finding.kind.name == "image-truncated"


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
