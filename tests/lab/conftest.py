"""What looks at a small network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from retina.detection.anchors import AnchorGenerator
from retina.detection.criterion import Criterion
from retina.detection.losses.classification import ClassificationLoss, FocalLoss
from retina.detection.losses.overlap import GIoULoss
from retina.detection.postprocess import PostProcess
from retina.lab.curves import score_curve
from retina.lab.looking import LossLab
from tests.lab.small_network import CLASS_NAMES, make_batches


@pytest.fixture(scope="module")
def few_points() -> Iterator[None]:
    """Compute curves at a few points only."""
    few = partial(score_curve, logits=torch.tensor([-3.0, -1.0, 1.0, 3.0], dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retina.lab.curve_panels.score_curve", few)
        patch.setattr("retina.lab.curves.NUM_POINTS", 12)
        yield


@pytest.fixture
def lab() -> Callable[..., LossLab]:
    """Make what looks at the small network."""

    def make(loss: ClassificationLoss | None = None, **changes) -> LossLab:
        loss = loss or FocalLoss()
        settings = {
            "loader": make_batches(center_heat=loss.needs_heat),
            "criterion": Criterion(loss, GIoULoss(weight=2.0)),
            "anchors": AnchorGenerator(),
            "postprocess": PostProcess(scores=loss.scores),
            "class_names": CLASS_NAMES,
            "device": torch.device("cpu"),
        }
        return LossLab(**{**settings, **changes})

    return make
