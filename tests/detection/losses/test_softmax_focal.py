"""The softmax focal loss by hand and at its limits; its formula is in test_classification_table.py."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.focal_family import SoftmaxFocalLoss, others_over_own
from retina.structures import AnchorTargets


def targets_of(anchors: list[int], labels: list[int], ignored: list[int]) -> AnchorTargets:
    boxes = torch.zeros(len(anchors), 4)
    return AnchorTargets(*(torch.tensor(v, dtype=torch.int64) for v in (anchors, labels)), boxes, boxes,
                         torch.tensor(ignored, dtype=torch.int64))  # fmt: skip


def random_logits(outputs: int) -> Tensor:
    return torch.randn(12, outputs, generator=torch.Generator().manual_seed(0)) * 2


TARGETS = targets_of([1, 4, 9], [0, 2, 1], [5, 6])


def test_equal_logits_cost_the_values_computed_by_hand():
    # p = 1/4 of three classes and the background: (3/4)^2 ln 4, alpha 1/4 of objects and 3/4 of background.
    cost = (3 / 4) ** 2 * math.log(4)
    value = SoftmaxFocalLoss()(torch.zeros(3, 4), targets_of([1], [2], [2]))
    assert value.item() == pytest.approx((0.25 + 0.75) * cost, rel=1e-6)


def test_gamma_zero_is_weighted_cross_entropy():
    logits = random_logits(4)
    labels = torch.full((12,), 3)
    labels[TARGETS.positive_index] = TARGETS.positive_labels
    labels[TARGETS.ignored_index] = -100
    weight = torch.tensor([0.3, 0.3, 0.3, 0.7])
    expected = F.cross_entropy(logits, labels, weight, reduction="sum")
    torch.testing.assert_close(SoftmaxFocalLoss(0.3, 0.0)(logits, TARGETS), expected)


def test_of_one_class_it_is_the_sigmoid_loss_of_the_difference():
    logits, targets = random_logits(2), targets_of([1, 4, 9], [0, 0, 0], [5, 6])
    difference = logits[:, :1] - logits[:, 1:]
    torch.testing.assert_close(SoftmaxFocalLoss()(logits, targets), FocalLoss()(difference, targets))


def test_equal_weights_in_a_list_are_one_number():
    logits = random_logits(4)
    one = SoftmaxFocalLoss(0.25)(logits, TARGETS)
    torch.testing.assert_close(SoftmaxFocalLoss([0.25, 0.25, 0.25, 0.75])(logits, TARGETS), one)


def test_a_number_added_to_all_logits_of_an_anchor_changes_nothing():
    logits, loss = random_logits(4), SoftmaxFocalLoss()
    shift = torch.linspace(-50, 50, 12)[:, None]
    torch.testing.assert_close(loss(logits + shift, TARGETS), loss(logits, TARGETS), rtol=1e-5, atol=0)


def test_log_odds_keep_the_digits_of_confident_classes():
    # 1 - p = 2 exp(-40) = 8.5e-18, which is nothing beside p = 1 even in float64.
    odds = others_over_own(torch.tensor([[40.0, 0.0, 0.0]]), torch.tensor([0]))
    assert odds.sigmoid().item() == pytest.approx(2 * math.exp(-40), rel=1e-5)


def test_its_weights_are_no_part_of_a_checkpoint():
    assert SoftmaxFocalLoss().state_dict() == FocalLoss([0.1, 0.2]).state_dict() == {}
