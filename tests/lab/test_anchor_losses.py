"""One number an anchor, against the losses that training uses."""

from __future__ import annotations

import pytest
import torch

from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.focal_family import SoftmaxFocalLoss
from retina.lab import anchor_losses
from retina.lab.anchor_losses import FocalSettings, anchor_focal_losses, anchor_scores
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
