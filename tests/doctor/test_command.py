"""The command: what it prints, writes and ends with, in this process."""

from __future__ import annotations

import json

import pytest

from retina.config.command import run_command
from retina.data.shapes import ShapesFolder
from retina.doctor.command import build_lens
from tests.jobs import job, tree_of

COMMAND = ("dataset=custom", "doctor.num_pictures=1")


@pytest.fixture
def drawn(tmp_path, small):
    """A COCO folder of a few drawn images, and the overrides that name it."""
    folder = ShapesFolder(root=str(tmp_path / "drawn"), num_train_images=6, num_val_images=1, image_size=128)
    dataset = folder.open("train")
    file = tmp_path / "train.json"
    file.write_bytes(dataset.annotations_file.read_bytes())
    overrides = [f"dataset.train.images={dataset.images_root}", f"dataset.train.annotations={file}",
                 f"out={tmp_path / 'out'}", *COMMAND]  # fmt: skip
    return file, overrides


def doctor(*overrides: str) -> int:
    return run_command("doctor", list(overrides))


def change(file, **values) -> None:
    content = json.loads(file.read_text())
    content["annotations"][0].update(values)
    file.write_text(json.dumps(content))


def test_settings_are_those_of_training_and_its_own() -> None:
    train, own = tree_of("train"), tree_of("doctor")
    assert {name: own.pop(name) for name in ("doctor", "fix", "out")}["fix"] is False
    assert own == train


def test_a_sound_data_set_ends_with_0_and_a_report(drawn, tmp_path, capsys) -> None:
    _, overrides = drawn
    assert doctor(*overrides) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "what the detector will see of train" in shown.out
    report = json.loads((tmp_path / "out" / "dataset_report.json").read_text())
    assert report["counts"]["error"] == 0
    assert (tmp_path / "out" / "dataset_report.html").read_text().startswith("<!doctype html>")


def test_an_error_ends_with_2_and_the_report_is_written_all_the_same(drawn, tmp_path, capsys) -> None:
    file, overrides = drawn
    change(file, image_id=999)
    assert doctor(*overrides, "doctor.images=none") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the data set 'custom' has 1 error")
    assert "Traceback" not in told
    assert json.loads((tmp_path / "out" / "dataset_report.json").read_text())["counts"]["error"] == 1


def test_the_corrected_copy_is_written_told_and_sound(drawn, tmp_path, capsys) -> None:
    file, overrides = drawn
    change(file, image_id=999)
    before = file.read_bytes()
    assert doctor(*overrides, "fix=true") == 2
    assert file.read_bytes() == before
    assert "1 annotations of unknown images or categories left out" in capsys.readouterr().out
    fixes = json.loads((tmp_path / "out" / "dataset_report.json").read_text())["fixes"]["train"]
    assert fixes["errors_left"] == []
    fixed = [o.replace("train.json", "train.fixed.json") for o in overrides]
    assert doctor(*fixed, "fix=true") == 0
    assert "there is nothing to correct" in capsys.readouterr().out


def test_a_split_that_is_not_there_is_told(drawn, capsys) -> None:
    _, overrides = drawn
    assert doctor(*overrides, "doctor.splits=[val]") == 2
    assert "has no split val" in capsys.readouterr().err


def test_the_view_follows_the_settings_of_the_resize() -> None:
    lens = build_lens(*job("doctor", "dataset=coco", "image.short_side=400", "train.accumulate=4"))
    assert lens.resized(480, 640) == (400, 533)
    assert (lens.batch_size, lens.max_detections) == (4, 100)


def test_real_data_has_what_it_has_and_nothing_else(shared_data, tmp_path, capsys) -> None:
    """Blood cells: seven near-duplicate boxes and one scene photographed twice across splits; nothing is an error."""
    assert (
        doctor("dataset=bccd", f"dataset.root={shared_data / 'bccd'}", f"out={tmp_path}", "doctor.num_pictures=0") == 0
    )
    capsys.readouterr()
    report = json.loads((tmp_path / "dataset_report.json").read_text())
    found = {(f["split"], f["kind"]): f for f in report["findings"]}
    assert [found[split, "box-near-duplicate"]["count"] for split in ("train", "val", "test")] == [4, 2, 1]
    assert found[None, "split-near-leak"]["places"] == [
        "train image 19 'BloodImage_00038.jpg' and val image 214 'BloodImage_00037.jpg'"
    ]
    assert {kind for _, kind in found} == {"box-near-duplicate", "split-near-leak", "object-unreached"}
