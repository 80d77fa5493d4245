"""Samplings and images that cannot be used, in whole runs: resumed, over two processes, and stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

from retina.config.command import call_command
from retina.data.shapes import ShapesFolder
from retina.errors import DataError
from retina.training.checkpoint import load_checkpoint
from retina.training.trainer import Trainer

pytestmark = pytest.mark.slow

CHOICES = {
    "aspect_ratio": ("sampling=aspect_ratio", "dataset.fraction=0.9"),
    "repeat_factor": ("sampling=repeat_factor", "sampling.threshold=0.9", "image.multi_scale=[48,64]"),
    "class_balanced": ("sampling=class_balanced", "dataset.fraction=0.5"),
}
each_choice = pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)


def weights(run_dir):
    return load_checkpoint(run_dir / "checkpoints" / "last.pt")["model"]


@each_choice
def test_a_resumed_run_sees_the_images_of_one_that_was_not_stopped(train, tmp_path, choice):
    train(f"run_dir={tmp_path / 'whole'}", *choice, "train.batch_size=5", "train.max_steps=6")
    train(f"run_dir={tmp_path / 'parts'}", *choice, "train.batch_size=5", "train.max_steps=6", "checkpoint.every=3",
          "train.patience=1", "eval.every=3")  # fmt: skip
    # The schedule is that of six steps, so the run is stopped in the middle by what a stop leaves behind.
    call_command("train", [f"resume={tmp_path / 'parts'}", "train.patience=null", "eval.every=0", "train.workers=1"])
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_two_processes_give_the_weights_of_one(root, small, tmp_path):
    overrides = [*small, "sampling=aspect_ratio", "image.multi_scale=[48,64]", "optimizer=sgd", "train.max_steps=3"]
    call_command("train", [*overrides, f"run_dir={tmp_path / 'one'}"])
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "train.py"]
    done = subprocess.run(
        [*launch, *overrides, f"run_dir={tmp_path / 'two'}"], cwd=root, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-5, atol=1e-5)


@pytest.fixture
def damaged(small, tmp_path):
    """Overrides of the small run on a copy of its images, of which the given ones are damaged."""
    given = dict(override.split("=", 1) for override in small)
    sizes = {name: int(given[f"dataset.{name}"]) for name in ("num_train_images", "num_val_images", "image_size")}
    source = ShapesFolder(root=given["dataset.root"], **sizes)
    source.make()
    folder = ShapesFolder(root=str(tmp_path / "copy"), **sizes).folder
    shutil.copytree(source.folder, folder, dirs_exist_ok=True)

    def damage(*places: int, split: str = "train") -> list[str]:
        dataset = source.open(split)
        for place in places:
            (folder / f"{split}2017" / dataset.file_names[place]).write_bytes(b"no image")
        return [*[o for o in small if not o.startswith("dataset.root")], f"dataset.root={tmp_path / 'copy'}"]

    return damage


def test_one_bad_image_is_named_once_and_stands_in_the_manifest(damaged, tmp_path):
    overrides = [*damaged(3), "train.max_steps=7"]  # 28 images: the third epoch has begun
    call_command("train", [*overrides, f"run_dir={tmp_path / 'run'}"])
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("another image stands in for one that cannot be used: image 4 ") == 1
    assert "1 training images could not be used" in log
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["bad_images"]["count"] == 1
    assert manifest["bad_images"]["images"][0].startswith("image 4 '000000000004.jpg' cannot be decoded: ")


@pytest.fixture
def damaged_later(damaged, monkeypatch):
    """Overrides of the small run, whose images are damaged once it has begun: those it starts with are looked at."""

    def later(*places: int, split: str = "train") -> list[str]:
        fit = Trainer.fit

        def damage_and_fit(trainer):
            damaged(*places, split=split)
            monkeypatch.setattr(Trainer, "fit", fit)
            return fit(trainer)

        monkeypatch.setattr(Trainer, "fit", damage_and_fit)
        return damaged()

    return later


def test_too_many_bad_images_stop_the_run_with_everything_saved_and_mending_them_lets_it_go_on(damaged_later, tmp_path):
    run = tmp_path / "run"
    overrides = [*damaged_later(3, 7), "train.max_steps=7"]
    with pytest.raises(DataError, match="2 of 12 training images cannot be used: image 4 .*, image 8 "):
        call_command("train", [*overrides, f"run_dir={run}"])
    stopped = load_checkpoint(run / "checkpoints" / "last.pt")
    assert 1 <= stopped["progress"]["step"] <= 3
    assert json.loads((run / "manifest.json").read_text())["bad_images"]["count"] == 2
    copy = copied(overrides)
    shutil.rmtree(copy.root)
    copy.make()
    call_command("train", [f"resume={run}"])
    assert load_checkpoint(run / "checkpoints" / "last.pt")["progress"]["step"] == 7


def copied(overrides) -> ShapesFolder:
    given = dict(override.split("=", 1) for override in overrides)
    return ShapesFolder(root=given["dataset.root"], num_train_images=12, num_val_images=4, image_size=128)


def test_a_bad_image_stops_a_run_that_wants_it_so(damaged_later, tmp_path):
    overrides = damaged_later(3)
    custom = [override for override in overrides if not override.startswith("dataset")]
    custom += ["dataset=custom", "recipe=shapes", f"dataset.root={copied(overrides).folder}"]
    for split in ("train", "val"):
        custom.append(f"dataset.{split}.images={split}2017")
        custom.append(f"dataset.{split}.annotations=annotations/instances_{split}2017.json")
    run = tmp_path / "run"
    with pytest.raises(DataError, match="image 4 '000000000004.jpg' cannot be decoded"):
        call_command("train", [*custom, "dataset.on_bad_image=error", f"run_dir={run}"])
    assert (run / "checkpoints" / "last.pt").is_file()


def test_a_bad_image_stops_every_evaluation(damaged_later, tmp_path):
    overrides = damaged_later(1, split="val")
    with pytest.raises(DataError, match="image 1000002 '000001000002.jpg' cannot be decoded"):
        call_command("train", [*overrides, "train.max_steps=1", f"run_dir={tmp_path / 'run'}"])
