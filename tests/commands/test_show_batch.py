"""What ``tools/show_batch.py`` draws, and where it writes it."""

from __future__ import annotations

import re
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from retina.build import build
from retina.commands import show_batch
from retina.commands.assemble import epoch_orders, open_training_data, train_loader_maker
from retina.config.command import call_command
from retina.errors import ConfigError
from retina.training.progress import RunLength
from tests.jobs import CPU, job, tree_of


def test_settings_are_those_of_training_and_its_own() -> None:
    train, shown = tree_of("train"), tree_of("show_batch")
    own = {name: shown.pop(name) for name in ("epoch", "start", "batches", "before", "least_side", "out")}
    assert shown == train
    assert own["batches"] == 2


def test_every_recipe_and_every_augmentation_fits() -> None:
    for choice in ("dataset=coco", "dataset=bccd", "augment=strong", "augment=photometric"):
        assert job("show_batch", choice)[0].batches == 2


@pytest.mark.parametrize(("overrides", "start"), [((), 0), (("epoch=2",), 24), (("start=8",), 8)])
def test_batches_are_those_of_training(small, monkeypatch, tmp_path, capsys, overrides, start) -> None:
    drawn = []
    monkeypatch.setattr(show_batch, "draw_batch", lambda batch, *_, **__: drawn.append(batch) or np.zeros((9, 9, 3)))
    words = [*small, "augment=strong", f"out={tmp_path}", *overrides]
    call_command("show_batch", words)
    lines = capsys.readouterr().out.splitlines()
    run, sections = job("show_batch", *words)
    dataset = open_training_data(run, build(sections["dataset"]))
    orders = epoch_orders(sections, run, dataset)
    length = RunLength.from_settings(run.train, orders.length)
    make = train_loader_maker(sections, run, dataset, build(sections["anchors"]), CPU, length, orders=orders)
    for shown, trained in zip(drawn, islice(make(start), 2), strict=True):
        assert torch.equal(shown.images.pixels, trained.images.pixels)
        assert shown.image_ids == trained.image_ids
    assert f"after {start} images" in lines[0]
    assert f"after {start + 4} images" in lines[1]


@pytest.mark.parametrize("before", [False, True])
def test_a_picture_is_written_for_each_batch(small, tmp_path, capsys, before) -> None:
    words = (f"out={tmp_path / 'new' / 'folder'}", f"before={before}", "least_side=64")
    written = call_command("show_batch", [*small, *words])
    lines = [line for line in capsys.readouterr().out.splitlines() if "positive" in line]
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["batch-0.png", "batch-1.png"]
    assert written == files
    assert [line.split(":")[0] for line in lines] == [str(file) for file in files]
    assert all(re.search(r": 4 images, \d+ positive anchors, after \d+ images$", line) for line in lines)
    shape = cv2.imread(str(files[0])).shape
    single = 64 * (2 if before else 1) + 6 * before
    assert shape[1] == 2 * single + 6


def test_one_batch_can_be_one_file(small, tmp_path) -> None:
    call_command("show_batch", [*small, f"out={tmp_path / 'batch.jpg'}", "batches=1"])
    assert cv2.imread(str(tmp_path / "batch.jpg")) is not None


def test_a_place_that_cannot_be_written_is_told(small, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write out="):
        call_command("show_batch", [*small, f"out={tmp_path / 'file'}"])
    with pytest.raises(ConfigError, match="batches must be 1 where out is a file, got 2"):
        call_command("show_batch", [*small, f"out={tmp_path / 'batch.png'}"])


def test_mistakes_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        call_command("show_batch", ["batchs=3", "epoch=1", "start=2"])
    assert "did you mean batches?" in caught.value.what
    assert "epoch and start cannot both be given" in caught.value.what
