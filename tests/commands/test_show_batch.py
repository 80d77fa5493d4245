"""What ``tools/show_batch.py`` draws, and where it writes it."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from retina.commands import show_batch
from retina.commands.building import Machine, build_assigner, build_data_folder, run_settings
from retina.commands.loading import epoch_orders, open_training_data, train_loader_maker
from retina.config.check import check_config
from retina.config.compose import compose_config
from retina.config.schema import SETTINGS_OF
from retina.errors import ConfigError
from retina.training.progress import RunLength


def _config(small, *overrides: str):
    return compose_config("show_batch", [*small, *overrides]).config


def test_settings_are_those_of_training_and_its_own() -> None:
    train, shown = (OmegaConf.to_container(compose_config(name).config) for name in ("train", "show_batch"))
    own = {name: shown.pop(name) for name in ("epoch", "start", "batches", "before", "least_side", "out")}
    assert shown == train
    assert own["batches"] == 2


def test_every_recipe_and_every_augmentation_fits() -> None:
    for choice in ("dataset=coco", "dataset=bccd", "augment=strong", "augment=photometric"):
        config = compose_config("show_batch", [choice]).config
        assert check_config(config, config, primary="show_batch", settings=SETTINGS_OF["show_batch"]) == []


@pytest.mark.parametrize(("overrides", "start"), [((), 0), (("epoch=2",), 24), (("start=8",), 8)])
def test_batches_are_those_of_training(small, monkeypatch, tmp_path, overrides, start) -> None:
    drawn = []
    monkeypatch.setattr(show_batch, "draw_batch", lambda batch, *_, **__: drawn.append(batch) or np.zeros((9, 9, 3)))
    config = _config(small, "augment=strong", f"out={tmp_path}", *overrides)
    lines = list(show_batch.show_batches(config))
    run, dataset = run_settings(config), open_training_data(config, build_data_folder(config.dataset))
    orders = epoch_orders(config, dataset)
    length = RunLength.from_settings(run.train, orders.length)
    machine = Machine(torch.device("cpu"), "float32")
    make = train_loader_maker(config, run, dataset, build_assigner(config.anchors), machine, length, orders=orders)
    for shown, trained in zip(drawn, islice(make(start), 2), strict=True):
        assert torch.equal(shown.images.pixels, trained.images.pixels)
        assert shown.image_ids == trained.image_ids
    assert f"after {start} images" in lines[0]
    assert f"after {start + 4} images" in lines[1]


@pytest.mark.parametrize("before", [False, True])
def test_a_picture_is_written_for_each_batch(small, tmp_path, before) -> None:
    config = _config(small, f"out={tmp_path / 'new' / 'folder'}", f"before={before}", "least_side=64")
    lines = list(show_batch.show_batches(config))
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["batch-0.png", "batch-1.png"]
    assert [line.split(":")[0] for line in lines] == [str(file) for file in files]
    assert all(re.search(r": 4 images, \d+ positive anchors, after \d+ images$", line) for line in lines)
    shape = cv2.imread(str(files[0])).shape
    single = 64 * (2 if before else 1) + 6 * before
    assert shape[1] == 2 * single + 6


def test_one_batch_can_be_one_file(small, tmp_path) -> None:
    config = _config(small, f"out={tmp_path / 'batch.jpg'}", "batches=1")
    list(show_batch.show_batches(config))
    assert cv2.imread(str(tmp_path / "batch.jpg")) is not None


def test_a_place_that_cannot_be_written_is_told(small, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write out="):
        list(show_batch.show_batches(_config(small, f"out={tmp_path / 'file'}")))


def test_mistakes_are_told_together_before_torch_is_loaded(root) -> None:
    command = [sys.executable, "-X", "importtime", "tools/show_batch.py", "batchs=3", "epoch=1", "start=2"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean batches?" in done.stderr
    assert "epoch and start cannot both be given" in done.stderr
    loaded = re.findall(r"\|\s+(\w+)$", done.stderr, re.MULTILINE)
    assert "torch" not in loaded
