"""A batch level by level: nothing is lost and nothing is counted twice."""

from __future__ import annotations

import pytest
import torch

from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.lab.levels import level_bounds, level_names, level_of, one_level
from retina.structures import AnchorTargets, BackgroundHeat, Predictions

GRIDS = [(4, 6), (2, 3), (1, 2)]  # 32 cells of 2 anchors
A = 64


def example() -> tuple[Predictions, AnchorTargets]:
    generator = torch.Generator().manual_seed(0)
    positive = torch.tensor([3, 47, 48, 60, 63, A + 0, A + 59])
    anchors = torch.tensor([0.0, 0.0, 8.0, 8.0]).repeat(7, 1)
    logits = torch.randn(2, A, 3, generator=generator)
    deltas = torch.randn(7, 4, generator=generator)
    heat = BackgroundHeat(torch.tensor([5, A + 50]), torch.tensor([0, 2]), torch.tensor([0.5, 0.25]))
    targets = AnchorTargets(positive, torch.arange(7) % 3, anchors + 1, anchors, torch.tensor([4, 49, A + 63]), heat)
    return Predictions(logits, deltas, GRIDS, positive), targets


def test_names_are_those_of_the_pyramid() -> None:
    assert level_names([8, 16, 32, 64, 128]) == ["P3", "P4", "P5", "P6", "P7"]
    assert level_names([12]) == ["/12"]


def test_bounds_and_levels_by_hand() -> None:
    assert level_bounds(GRIDS, A) == [(0, 48), (48, 60), (60, 64)]
    index = torch.tensor([0, 47, 48, 59, 60, 63, A, A + 48])
    assert level_of(index, GRIDS, A).tolist() == [0, 0, 1, 1, 2, 2, 0, 1]


def test_anchors_of_a_level_are_counted_anew() -> None:
    predictions, targets = example()
    level, ours = one_level(predictions, targets, 1)
    assert level.logits.shape == (2, 12, 3)
    assert ours.positive_index.tolist() == [0, 12 + 11]  # 48 of the first image, 59 of the second
    assert ours.positive_labels.tolist() == [2, 0]
    assert ours.ignored_index.tolist() == [1]
    assert torch.equal(level.deltas, predictions.deltas[[2, 6]])
    assert torch.equal(level.logits[1], predictions.logits[1, 48:60])
    assert (ours.heat.anchor_index.tolist(), ours.heat.labels.tolist(), ours.heat.heat.tolist()) == ([14], [2], [0.25])


@pytest.mark.parametrize("name", ["classification", "box"])
def test_losses_of_the_levels_add_up_to_the_loss(name: str) -> None:
    predictions, targets = example()
    criterion = Criterion(FocalLoss(), L1Loss())
    parts = [criterion(*one_level(predictions, targets, level))[name] for level in range(3)]
    assert all(part > 0 for part in parts)
    torch.testing.assert_close(sum(parts), criterion(predictions, targets)[name])
