"""``tools/convert_dataset.py`` from the command line to the new folder."""

from __future__ import annotations

import pytest

from retina.config.command import call_command, run_command
from retina.data.folders import CocoFolder
from retina.errors import ConfigError
from retina.formats.writers import WRITERS
from retina.formats.yolo import YoloFolder

SHAPES = ("dataset=shapes", "dataset.num_train_images=3", "dataset.num_val_images=2", "dataset.image_size=128")


@pytest.fixture
def shapes(tmp_path):
    return (*SHAPES, f"dataset.root={tmp_path / 'shapes'}")


def convert(*words: str) -> None:
    call_command("convert_dataset", words)


def test_a_data_set_is_written_and_what_was_done_is_said(shapes, tmp_path, capsys):
    convert(*shapes, "to=yolo", f"out={tmp_path / 'out'}")
    shown = capsys.readouterr().out
    assert "train       3" in shown
    assert f"python train.py dataset=yolo dataset.root={tmp_path / 'out'}" in shown
    assert [len(YoloFolder(root=str(tmp_path / "out")).open(split)) for split in ("train", "val")] == [3, 2]


def test_images_boxes_and_crowds_are_counted(coco_folder, tmp_path, capsys):
    val = ["dataset.val.images=images", "dataset.val.annotations=instances.json"]
    convert("from=custom", f"dataset.root={coco_folder}", *val, "to=csv", f"out={tmp_path / 'out'}")
    shown = capsys.readouterr().out
    dataset = CocoFolder("tiny", str(coco_folder), val={"images": "images", "annotations": "instances.json"}).open(
        "val"
    )
    assert dataset.crowd.sum() == 1
    assert f"val    {len(dataset):>6}  {dataset.num_objects:>5}       1" in shown


def test_some_splits_are_chosen_and_coco_is_opened_as_custom(shapes, tmp_path, capsys):
    convert(*shapes, "to=coco", f"out={tmp_path / 'out'}", "splits=[val]")
    assert "dataset.val.images=val dataset.val.annotations=annotations/instances_val.json" in capsys.readouterr().out
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["out=x"], "to must be given"),
        (["to=coco"], "out must be given"),
        (["to=json", "out=x"], f"to must be one of {', '.join(WRITERS)}, got 'json'"),
        (["to=coco", "out=x", "splits=[tset]"], "splits must be a list, each one of train, val, test"),
        (["to=coco", "out=x", "images=move"], "images must be one of link, copy, none"),
        (["to=coco", "out=x", "dataset=vok"], "voc"),
        (["to=coco", "out=x"], "from must be given"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(words, what):
    with pytest.raises(ConfigError, match=what):
        convert(*words)


def test_from_is_another_name_for_the_data_set(tmp_path, capsys):
    assert run_command("convert_dataset", ["from=csv", "to=voc", f"dataset.root={tmp_path}", "out=x"]) == 2
    told = capsys.readouterr().err
    assert "dataset 'csv' has no splits" in told
    assert "Traceback" not in told
