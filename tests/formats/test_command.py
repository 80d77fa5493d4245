"""``tools/convert_dataset.py`` from the command line to the new folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from retina.config.check import check_command
from retina.config.compose import compose_config
from retina.config.schema import SETTINGS_OF
from retina.errors import ConfigError
from retina.formats.command import convert_config
from retina.formats.writers import WRITERS
from retina.formats.yolo import YoloFolder

SHAPES = ("dataset=shapes", "dataset.num_train_images=3", "dataset.num_val_images=2", "dataset.image_size=128")


@pytest.fixture
def shapes(tmp_path):
    return (*SHAPES, f"dataset.root={tmp_path / 'shapes'}")


def test_a_data_set_is_written_and_what_was_done_is_said(shapes, tmp_path, capsys):
    overrides = [*shapes, "to=yolo", f"out={tmp_path / 'out'}"]
    check_command("convert_dataset", overrides, settings=SETTINGS_OF["convert_dataset"])
    convert_config(compose_config("convert_dataset", overrides).config)
    shown = capsys.readouterr().out
    assert "train       3" in shown
    assert f"python train.py dataset=yolo dataset.root={tmp_path / 'out'}" in shown
    assert [len(YoloFolder(root=str(tmp_path / "out")).open(split)) for split in ("train", "val")] == [3, 2]


def test_some_splits_are_chosen_and_coco_is_opened_as_custom(shapes, tmp_path, capsys):
    convert_config(
        compose_config("convert_dataset", [*shapes, "to=coco", f"out={tmp_path / 'out'}", "splits=[val]"]).config
    )
    assert "dataset.val.images=val dataset.val.annotations=annotations/instances_val.json" in capsys.readouterr().out
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["out=x"], "to must be given"),
        (["to=coco"], "out must be given"),
        (["to=json", "out=x"], f"to must be one of {', '.join(WRITERS)}, got 'json'"),
        (["to=coco", "out=x", "splits=[tset]"], "splits must be one of"),
        (["to=coco", "out=x", "images=move"], "images must be one of link, copy, none"),
        (["to=coco", "out=x", "dataset=vok"], "voc"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(overrides, what):
    with pytest.raises(ConfigError, match=what):
        check_command("convert_dataset", overrides, settings=SETTINGS_OF["convert_dataset"])


def test_without_a_format_to_read_it_is_told():
    with pytest.raises(ConfigError, match="from must be given"):
        convert_config(compose_config("convert_dataset", ["to=coco", "out=x"]).config)


def test_from_is_another_name_for_the_data_set(root, tmp_path):
    command = [sys.executable, "tools/convert_dataset.py", "from=csv", "to=voc", f"dataset.root={tmp_path}", "out=x"]
    done = subprocess.run(command, cwd=root, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "dataset 'csv' has no splits" in done.stderr
    assert "Traceback" not in done.stderr
