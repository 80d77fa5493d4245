"""The penalty-reduced focal loss against its formula, by hand, and against the focal loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.focal_family import PenaltyReducedFocalLoss
from retina.structures import AnchorTargets, BackgroundHeat

BOXES = torch.zeros(2, 4)
TARGETS = AnchorTargets(torch.tensor([1, 8]), torch.tensor([0, 2]), BOXES, BOXES, torch.tensor([5]))
SOFT = BackgroundHeat(torch.tensor([0, 2, 7, 8]), torch.tensor([0, 0, 2, 1]), torch.tensor([0.9, 0.5, 0.2, 0.99]))
HEATED = replace(TARGETS, heat=SOFT)


def cornernet(x: Tensor, gamma: float, beta: float) -> Tensor:
    """Law and Deng 2018, eq. 1, over a table of heats, without 1 / N."""
    y = torch.zeros(x.shape, dtype=torch.float64)
    y[SOFT.anchor_index, SOFT.labels] = SOFT.heat.double()
    y[TARGETS.positive_index, TARGETS.positive_labels] = 1.0
    p = x.sigmoid()
    value = torch.where(y == 1, (1 - p) ** gamma * p.log(), (1 - y) ** beta * p**gamma * (1 - p).log())
    kept = torch.ones(len(x), 1, dtype=torch.float64).index_fill(0, TARGETS.ignored_index, 0.0)
    return -(value * kept).sum()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_value_and_gradient_are_those_of_the_papers_formula_in_float64(gamma, beta):
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wide = logits.detach().double().requires_grad_()
    value = PenaltyReducedFocalLoss(gamma, beta)(logits, HEATED)
    expected = cornernet(wide, gamma, beta)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=1e-4, atol=1e-7)


def test_an_undecided_score_costs_the_values_computed_by_hand():
    # (1/2)^2 ln 2 each, but of the background beside the object (1/2)^4 of it.
    one = AnchorTargets(torch.tensor([0]), torch.tensor([0]), BOXES[:1], BOXES[:1], torch.zeros(0, dtype=torch.int64))
    soft = BackgroundHeat(torch.tensor([1]), torch.tensor([0]), torch.tensor([0.5]))
    value = PenaltyReducedFocalLoss()(torch.zeros(3, 1), replace(one, heat=soft))
    assert value.item() == pytest.approx((2 + 1 / 16) * 0.25 * math.log(2), rel=1e-6)


def test_without_heat_it_is_twice_the_focal_loss_of_alpha_one_half():
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    cold = replace(TARGETS, heat=replace(SOFT, heat=torch.zeros(4)))
    torch.testing.assert_close(PenaltyReducedFocalLoss()(logits, cold), 2 * FocalLoss(0.5)(logits, TARGETS))


@pytest.mark.parametrize("gamma", [0.0, 0.25, 2.0])
@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_saturated_logits_have_a_finite_loss_and_gradient(logit, gamma):
    logits = torch.full((10, 3), logit, requires_grad=True)
    value = PenaltyReducedFocalLoss(gamma)(logits, HEATED)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_targets_without_heat_are_told():
    with pytest.raises(ValueError, match="the targets have no heat"):
        PenaltyReducedFocalLoss()(torch.zeros(10, 3), TARGETS)


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_settings_below_0_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} must be at least 0, got -1"):
        PenaltyReducedFocalLoss(**{name: -1.0})
