"""Quality focal and varifocal loss by hand and at their limits; the formulas are in test_classification_table.py."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from retina.detection.losses.classification import CrossEntropyLoss, FocalLoss
from retina.detection.losses.focal_family import QualityFocalLoss, VarifocalLoss, soft_cross_entropy
from retina.structures import AnchorTargets

BOXES = torch.zeros(3, 4)
TARGETS = AnchorTargets(torch.tensor([1, 4, 9]), torch.tensor([0, 2, 1]), BOXES, BOXES, torch.tensor([5, 6]))
LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)) * 2
ONES = torch.ones(3)


def test_an_undecided_score_costs_the_values_computed_by_hand():
    # p = 1/2, IoU 3/4: cross-entropy ln 2; quality (1/4)^2 of it, varifocal 3/4 of it.
    half, iou = torch.zeros(1), torch.tensor([0.75])
    assert QualityFocalLoss().present(half, iou).item() == pytest.approx(math.log(2) / 16)
    assert VarifocalLoss().present(half, iou).item() == pytest.approx(0.75 * math.log(2))
    # A box that misses its object makes its anchor background: 3/4 (1/2)^2 ln 2.
    assert VarifocalLoss().present(half, torch.zeros(1)).item() == pytest.approx(0.1875 * math.log(2))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_quality_focal_of_perfect_boxes_is_twice_the_focal_loss_of_alpha_one_half(gamma):
    expected = 2 * FocalLoss(0.5, gamma)(LOGITS, TARGETS)
    torch.testing.assert_close(QualityFocalLoss(gamma)(LOGITS, TARGETS, ONES), expected)


def test_varifocal_of_perfect_boxes_without_focus_is_cross_entropy():
    torch.testing.assert_close(VarifocalLoss(1.0, 0.0)(LOGITS, TARGETS, ONES), CrossEntropyLoss()(LOGITS, TARGETS))


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("logit", [-2.0, 0.0, 3.0])
def test_a_score_equal_to_the_iou_has_neither_quality_focal_loss_nor_slope(logit, beta):
    x = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    loss = QualityFocalLoss(beta).present(x, x.detach().sigmoid())
    (slope,) = torch.autograd.grad(loss.sum(), x)
    assert loss.item() == pytest.approx(0.0, abs=1e-3)
    assert torch.isfinite(slope).all()


def test_the_score_that_costs_least_is_the_iou():
    iou, scores = torch.tensor([0.37]), torch.linspace(0.01, 0.99, 99)
    for loss in (QualityFocalLoss(), VarifocalLoss()):
        assert scores[loss.present(scores.logit(), iou).argmin()].item() == pytest.approx(0.37, abs=1e-6)


def test_soft_cross_entropy_is_torchs_and_keeps_the_digits_of_confident_scores():
    x, y = torch.linspace(-30, 30, 41), torch.linspace(0, 1, 41)
    expected = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(x, y), expected, rtol=1e-5, atol=1e-7)
    # x = 16, y = 1: log(1 + exp(-16)) = 1.1e-7; softplus(x) - y x would be 0 or a rounding error of 16.
    tiny = soft_cross_entropy(torch.tensor([16.0]), torch.ones(1)).item()
    assert tiny == pytest.approx(math.log1p(math.exp(-16.0)), rel=1e-6)


@pytest.mark.parametrize("loss", [QualityFocalLoss(), VarifocalLoss()], ids=repr)
def test_the_iou_learns_nothing_and_must_be_given(loss):
    iou = torch.full((3,), 0.5, requires_grad=True)
    value = loss(LOGITS.clone().requires_grad_(), TARGETS, iou)
    value.backward()
    assert iou.grad is None
    with pytest.raises(TypeError, match="iou"):
        loss(LOGITS, TARGETS)
