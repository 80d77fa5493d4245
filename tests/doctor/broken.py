"""The table of broken inputs: how a row is added to it and how a training starts on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from retina.commands.train import _check_same_classes
from retina.data.bad_images import StandIns
from retina.data.checks.start import check_before_training

FINE, TOLD, REFUSED = "fine", "told", "refused"
ROWS: list[tuple[str, Callable, str, tuple[str, ...]]] = []


def row(outcome: str, *told: str):
    """Add the function below to the table: it changes a sound data set; ``told`` must be said."""

    def add(change: Callable) -> Callable:
        ROWS.append((change.__name__, change, outcome, told))
        return change

    return add


def start(folder) -> list[str]:
    """Do what a training does before and while it reads the images; return everything that was said."""
    train, val = folder.open("train"), folder.open("val")
    _check_same_classes(train, val)
    checked = check_before_training({"train": train, "val": val}, "fast")
    said = [*train.notes, *(str(finding) for findings in checked.values() for finding in findings)]
    images = StandIns(train, seed=0, epoch=0)
    for index in range(len(train)):
        sample = images.sample(index)
        boxes = sample.targets.boxes.numpy()
        assert np.isfinite(boxes).all()
        height, width = sample.image.shape[:2]
        assert ((boxes >= 0) & (boxes <= [width, height, width, height])).all()
        assert ((boxes[:, 2:] > boxes[:, :2]) | (len(boxes) == 0)).all()
    return said + images.replaced
