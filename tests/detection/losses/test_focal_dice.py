"""The Dice part by hand and at its limits; its formula is in test_classification_table.py."""

from __future__ import annotations

import pytest
import torch

from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.self_normalised import FocalDiceLoss
from retina.structures import AnchorTargets


def targets_of(anchors: list[int], labels: list[int], ignored: list[int]) -> AnchorTargets:
    boxes = torch.zeros(len(anchors), 4)
    return AnchorTargets(*(torch.tensor(v, dtype=torch.int64) for v in (anchors, labels)), boxes, boxes,
                         torch.tensor(ignored, dtype=torch.int64))  # fmt: skip


def dice(logits: torch.Tensor, targets: AnchorTargets, **settings: float) -> float:
    return (FocalDiceLoss(**settings)(logits, targets) - FocalLoss()(logits, targets)).item()


def test_undecided_scores_cost_the_value_computed_by_hand():
    # Class 0: overlap 1/2, squares 4/4, one object: 1 - (1 + 1) / (1 + 1 + 1) = 1/3. Class 1 is absent: skipped.
    assert dice(torch.zeros(4, 2), targets_of([2], [0], [])) == pytest.approx(1 / 3, abs=1e-6)
    assert dice(torch.zeros(4, 2), targets_of([2], [0], []), dice_weight=3.0) == pytest.approx(1.0, abs=1e-6)
    # An ignored anchor takes its square away: 1 - 2 / 2.75.
    assert dice(torch.zeros(4, 2), targets_of([2], [0], [1])) == pytest.approx(1 - 2 / 2.75, abs=1e-6)


def test_perfect_scores_cost_nothing():
    logits = torch.full((6, 2), -40.0)
    logits[[1, 4], [0, 1]] = 40.0
    assert dice(logits, targets_of([1, 4], [0, 1], [])) == pytest.approx(0.0, abs=1e-6)


def test_without_objects_or_weight_it_is_the_focal_loss():
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    nothing, something = targets_of([], [], []), targets_of([1], [0], [])
    for loss, targets in ((FocalDiceLoss(), nothing), (FocalDiceLoss(dice_weight=0.0), something)):
        assert torch.equal(loss(logits, targets), FocalLoss()(logits, targets))


def test_it_is_multiplied_by_the_positives_that_the_trainer_divides_by():
    # Both classes alike, so their mean is that of one; two positives.
    assert dice(torch.zeros(4, 2), targets_of([1, 2], [0, 1], [])) == pytest.approx(2 / 3, abs=1e-6)
