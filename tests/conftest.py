"""Fixtures for every test: the real images, where they stand beside the project, and a run of a few seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") != "1":
    # Set before torch is imported: threads of several test processes would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# After the number of threads is set, since it imports torch.
from tests.sound_data import data, make_data  # noqa: E402, F401  # fixtures

ROOT = Path(__file__).resolve().parents[1]

# 12 drawn images, seen at 64 pixels by a narrow network for a few steps.
SMALL = (
    "dataset=shapes",
    "dataset.num_train_images=12",
    "dataset.num_val_images=4",
    "dataset.image_size=128",
    "image.short_side=64",
    "image.long_side=64",
    "train.epochs=null",
    "train.max_steps=4",
    "train.batch_size=4",
    "train.workers=0",
    "train.precision=float32",
    "train.device=cpu",
    "model.fpn_channels=16",
    "model.tower_channels=16",
    "model.tower_depth=1",
    # Batch norm's statistics are those of a rank's images; the promise of equal results is for the others.
    "model.norm=gn",
    "schedule.warmup=4",
    "checkpoint.every=0",
    "eval.every=0",
    "eval.num_pictures=1",
    "log.every=1",
)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; tests that need it are skipped where it does not stand."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real images do not stand beside the project (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides of a small run; the data set is drawn once."""
    return (*SMALL, f"dataset.root={tmp_path_factory.mktemp('shapes')}")
