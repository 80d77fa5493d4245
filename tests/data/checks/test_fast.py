from __future__ import annotations

import os

import numpy as np

from retina.data.checks.fast import check_files, fast_check


def test_a_sound_folder_has_no_findings(data):
    assert fast_check(data.open()) == ()


def test_every_file_is_looked_for_and_none_is_opened(data):
    data.image(1).unlink()
    os.mkfifo(data.image(1))  # opening it would wait for ever
    data.image(2).write_bytes(b"")
    data.image(3).unlink()
    findings, bad = check_files(data.open())
    assert bad.tolist() == [False, True, True, True]
    assert {f.kind.name: tuple(map(str, f.places)) for f in findings} == {
        "image-not-a-file": ("image 11 'train_1.jpg'",),
        "image-zero-bytes": ("image 12 'train_2.jpg'",),
        "image-missing": ("image 13 'train_3.jpg'",),
    }


def test_folders_are_listed_instead_of_asking_for_every_file(data, monkeypatch):
    dataset, asked = data.open(), []
    monkeypatch.setattr("retina.data.checks.fast.file_fault", lambda dataset, index: asked.append(index))
    assert np.array_equal(check_files(dataset)[1], np.zeros(4, dtype=bool))
    assert asked == []


def test_a_folder_that_is_a_link_to_elsewhere_is_not_trusted(data):
    (data.root / "other").mkdir()
    (data.root / "other" / "a.jpg").write_bytes(data.image(1).read_bytes())
    (data.root / "train" / "sub").symlink_to(data.root / "other")
    data.content["images"][1]["file_name"] = "sub/a.jpg"
    findings, bad = check_files(data.write().open())
    assert [f.kind.name for f in findings] == ["image-outside-folder"]
    assert bad.tolist() == [False, True, False, False]


def test_names_that_are_written_in_two_ways_are_found(data):
    data.content["images"][1]["file_name"] = "./train_1.jpg"
    assert check_files(data.write().open())[0] == ()


def test_what_was_sampled_is_said(data):
    for index in (0, 3):
        data.image(index).write_text("no image")
    findings = fast_check(data.open(), max_headers=2)  # the first and the last
    assert [(f.kind.name, f.count) for f in findings] == [("image-undecodable", 2), ("images-not-checked", 2)]
    assert "the headers of 2 of 4 were read" in str(findings[1])
