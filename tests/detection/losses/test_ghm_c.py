"""Gradient harmonizing by hand, and the average that it keeps; its formula is in test_classification_table.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from retina.detection.losses.self_normalised import GHMCLoss, mirror_present
from retina.structures import AnchorTargets


def targets_of(anchors: list[int], labels: list[int], ignored: list[int]) -> AnchorTargets:
    boxes = torch.zeros(len(anchors), 4)
    return AnchorTargets(*(torch.tensor(v, dtype=torch.int64) for v in (anchors, labels)), boxes, boxes,
                         torch.tensor(ignored, dtype=torch.int64))  # fmt: skip


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# Gradient norms 0.1, 0.1, 0.2 (lower half of two bins) and, of the object, 0.9 (upper half).
LOGITS = torch.tensor([[logit(0.1)], [logit(0.1)], [logit(0.2)], [logit(0.1)]])
TARGETS = targets_of([3], [0], [])


def test_every_bin_has_the_mean_of_its_cross_entropies_computed_by_hand():
    lower = -(2 * math.log(0.9) + math.log(0.8)) / 3
    upper = -math.log(0.1)
    loss = GHMCLoss(bins=2)
    assert loss(LOGITS, TARGETS).item() == pytest.approx((lower + upper) / 2, rel=1e-6)
    assert loss.bin_counts.tolist() == [3, 1]


def test_it_is_multiplied_by_the_positives_that_the_trainer_divides_by():
    logits, targets = LOGITS.repeat(3, 1), targets_of([3, 7, 11], [0, 0, 0], [])
    torch.testing.assert_close(GHMCLoss(bins=2)(logits, targets), 3 * GHMCLoss(bins=2)(LOGITS, TARGETS))


def test_the_average_starts_at_the_first_numbers_and_moves_by_the_momentum():
    loss = GHMCLoss(bins=2, momentum=0.75)
    loss(LOGITS, TARGETS)
    loss(LOGITS, targets_of([], [], [3]))
    assert loss.bin_counts.tolist() == [3, 0.75]
    value = loss(LOGITS, TARGETS)  # 0.75 * 0.75 + 0.25 in the upper bin
    lower, upper = -(2 * math.log(0.9) + math.log(0.8)) / 3, -math.log(0.1) / 0.8125
    assert value.item() == pytest.approx((lower + upper) / 2, rel=1e-6)


def test_evaluation_reads_the_average_and_leaves_it():
    loss = GHMCLoss(bins=2)
    loss(LOGITS, TARGETS)
    before, trained = loss.bin_counts.clone(), loss(LOGITS, TARGETS)
    loss.eval()
    torch.testing.assert_close(loss(LOGITS, TARGETS), trained)
    loss(LOGITS, targets_of([], [], [3]))
    assert torch.equal(loss.bin_counts, before)


def test_a_checkpoint_brings_the_average_back():
    loss, other = GHMCLoss(bins=2), GHMCLoss(bins=2)
    loss(LOGITS, TARGETS)
    other.load_state_dict(loss.state_dict())
    later = torch.tensor([[2.0], [0.1], [-3.0], [0.5]])
    assert torch.equal(other(later, TARGETS), loss(later, TARGETS))
    assert not torch.equal(GHMCLoss(bins=2)(later, TARGETS), loss(later, TARGETS))


def test_ignored_anchors_are_not_counted():
    loss = GHMCLoss(bins=2)
    loss(torch.cat([LOGITS, torch.full((5, 1), 1e4)]), targets_of([3], [0], [4, 5, 6, 7, 8]))
    assert loss.bin_counts.tolist() == [3, 1]


def test_the_ends_of_the_range_lie_in_the_first_and_the_last_bin():
    loss = GHMCLoss(bins=4)
    loss(torch.tensor([[-1e4], [1e4], [0.0]]), targets_of([], [], []))
    assert loss.bin_counts.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_not_hidden(value):
    assert not math.isfinite(GHMCLoss()(torch.tensor([[value, 0.0]]), targets_of([], [], [])).item())


def test_mirrored_logits_turn_present_classes_over_and_ignored_anchors_off():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.bfloat16)
    mirrored: Tensor = mirror_present(logits, targets_of([1], [0], [2]))
    assert mirrored.dtype == torch.float32
    assert mirrored.tolist() == [[1, 2], [-3, 4], [-math.inf, -math.inf]]
