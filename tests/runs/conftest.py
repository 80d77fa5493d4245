"""Runs in this process, and commands as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from retina.config.command import call_command
from retina.data.shapes import ShapesFolder


@pytest.fixture(autouse=True)
def light_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep gigabytes of checkpoints from being brought to the disk; that they are synced has tests of its own."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield
    for checkpoint in tmp_path.rglob("*.pt"):
        checkpoint.unlink()


@pytest.fixture
def train(small: tuple[str, ...]) -> Callable[..., None]:
    """Run a training in this process with ``small`` and more overrides."""
    return lambda *overrides: call_command("train", [*small, *overrides])


@pytest.fixture
def emptied(small: tuple[str, ...], tmp_path: Path) -> Callable[..., list[str]]:
    """Return overrides of the small run on the same images; those at the given places have lost their objects."""

    def empty(*, train: Iterable[int] = (), val: Iterable[int] = ()) -> list[str]:
        given = dict(override.split("=", 1) for override in small)
        sizes = {name: int(given[f"dataset.{name}"]) for name in ("num_train_images", "num_val_images", "image_size")}
        folder = ShapesFolder(root=given["dataset.root"], **sizes)
        overrides = [override for override in small if not override.startswith("dataset")]
        overrides += ["dataset=custom", "recipe=shapes"]
        for split, places in (("train", train), ("val", val)):
            dataset = folder.open(split)
            chosen = {int(dataset.image_ids[place]) for place in places}
            content = json.loads(dataset.annotations_file.read_text())
            content["annotations"] = [each for each in content["annotations"] if each["image_id"] not in chosen]
            file = tmp_path / f"{split}.json"
            file.write_text(json.dumps(content), encoding="utf-8")
            overrides += [f"dataset.{split}.images={dataset.images_root}", f"dataset.{split}.annotations={file}"]
        return overrides

    return empty


@pytest.fixture
def command(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python <arguments>`` in the checkout as a user does, with more environment ``variables``."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        return subprocess.run(
            [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=250
        )

    return run
