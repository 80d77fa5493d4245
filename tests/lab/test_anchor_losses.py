"""One number an anchor against the losses of training, and shares of a loss from bins against sorting every value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.focal_family import SoftmaxFocalLoss
from retina.lab import anchor_losses
from retina.lab.anchor_losses import FocalSettings, LossHistogram, anchor_focal_losses, anchor_scores
from retina.structures import AnchorTargets


def targets(num_anchors: int, num_classes: int, *, seed: int = 0) -> AnchorTargets:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_anchors, generator=generator)
    positive, ignored = order[:5].sort().values, order[5:12].sort().values
    labels = torch.randint(num_classes, (5,), generator=generator)
    return AnchorTargets(positive, labels, torch.zeros(5, 4), torch.zeros(5, 4), ignored)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_anchors_that_count_add_up_to_the_loss_of_training(gamma: float, softmax: bool, monkeypatch) -> None:
    monkeypatch.setattr(anchor_losses, "_ELEMENTS", 64)  # several chunks
    logits = 3 * torch.randn(60, 4 + softmax, generator=torch.Generator().manual_seed(1))
    wanted = targets(60, 4)
    losses = anchor_focal_losses(logits, wanted, FocalSettings(0.25, gamma, softmax))
    assert losses.shape == (60,)
    losses[wanted.ignored_index] = 0.0
    loss = (SoftmaxFocalLoss if softmax else FocalLoss)(0.25, gamma)
    torch.testing.assert_close(losses.sum(), loss(logits, wanted), rtol=1e-5, atol=1e-6)


def test_one_anchor_alone_has_the_loss_of_training() -> None:
    logits = torch.tensor([[2.0, -1.0], [-3.0, 0.5]])
    none = torch.zeros(0, dtype=torch.int64)
    wanted = AnchorTargets(torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 4), torch.zeros(1, 4), none)
    first, second = anchor_focal_losses(logits, wanted, FocalSettings(0.25, 2.0))
    background = AnchorTargets(none, none, torch.zeros(0, 4), torch.zeros(0, 4), none)
    torch.testing.assert_close(first, FocalLoss()(logits[:1], wanted))
    torch.testing.assert_close(second, FocalLoss()(logits[1:], background))


def test_scores_are_of_the_own_class_and_elsewhere_of_there_being_nothing() -> None:
    logits = torch.tensor([[2.0, -1.0], [-3.0, 0.5], [1.0, 4.0]])
    wanted = AnchorTargets(
        torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([2])
    )
    expected = torch.stack([logits[0, 1].sigmoid(), 1 - logits[1, 1].sigmoid(), 1 - logits[2, 1].sigmoid()])
    torch.testing.assert_close(anchor_scores(logits, wanted), expected)


def test_scores_of_a_softmax_are_its_probabilities() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.3], [-3.0, 0.5, 1.0]])
    none = torch.zeros(0, dtype=torch.int64)
    wanted = AnchorTargets(torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 4), torch.zeros(1, 4), none)
    p = logits.softmax(dim=1)
    torch.testing.assert_close(anchor_scores(logits, wanted, softmax=True), torch.stack([p[0, 1], p[1, 2]]))


def test_half_precision_is_computed_in_float32() -> None:
    logits = (3 * torch.randn(60, 4, generator=torch.Generator().manual_seed(1))).bfloat16()
    losses = anchor_focal_losses(logits, targets(60, 4), FocalSettings(0.25, 2.0))
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, anchor_focal_losses(logits.float(), targets(60, 4), FocalSettings(0.25, 2.0)))


def filled(*parts: torch.Tensor) -> LossHistogram:
    histogram = LossHistogram()
    for part in parts:
        histogram.add(part)
    return histogram


def test_half_of_equal_losses_carry_half() -> None:
    histogram = filled(torch.full((1000,), 0.3))
    assert histogram.hardest(0.01) == pytest.approx(0.01)
    assert histogram.curve(3) == pytest.approx([0, 0.5, 1])


def test_one_hard_anchor_among_ninety_nine_easy_ones_by_hand() -> None:
    histogram = filled(torch.full((99,), 0.001), torch.tensor([9.9]))
    assert histogram.hardest(0.01) == pytest.approx(9.9 / 9.999, rel=1e-6)
    assert histogram.total == pytest.approx(9.999, rel=1e-6)
    assert histogram.count == 100


def test_the_curve_is_that_of_sorting_all_values() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.exp(4 * torch.randn(50_000, generator=generator, dtype=torch.float64) - 8)
    histogram = filled(*losses.split(7_000))
    ordered = np.sort(losses.numpy())
    cumulative = np.concatenate([[0.0], np.cumsum(ordered)]) / ordered.sum()
    exact = np.interp(np.linspace(0, 1, 201), np.linspace(0, 1, len(ordered) + 1), cumulative)
    # At the edge of a bin it is exact; inside, values differ by 0.35 % at most.
    np.testing.assert_allclose(histogram.curve(), exact, rtol=2e-3, atol=1e-9)
    for share in (0.001, 0.01, 0.2):
        top = ordered[-round(share * len(ordered)) :].sum() / ordered.sum()
        assert histogram.hardest(share) == pytest.approx(top, rel=2e-3)


def test_losses_outside_of_the_bins_keep_their_sum() -> None:
    histogram = filled(torch.tensor([0.0, 1e-30, 1e9]))
    assert histogram.count == 3
    assert histogram.total == pytest.approx(1e9)


def test_what_is_not_finite_is_counted_apart() -> None:
    histogram = filled(torch.tensor([1.0, float("nan"), float("inf")]))
    assert (histogram.count, histogram.not_finite) == (1, 2)


def test_without_a_loss_there_is_no_share() -> None:
    assert LossHistogram().hardest(0.01) is None
    assert LossHistogram().curve() == []
    assert filled(torch.zeros(5)).hardest(0.01) is None
