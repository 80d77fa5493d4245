"""Gradients in the shared features against those of a whole backward pass; a batch level by level, nothing lost."""

from __future__ import annotations

import pytest
import torch

from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.lab.pyramid import (
    gradient_squares,
    level_bounds,
    level_names,
    level_of,
    norm_shares,
    one_level,
    shared_features,
)
from retina.structures import AnchorTargets, BackgroundHeat, Predictions
from tests.lab.small_network import make_batches, make_model

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


def test_shares_of_norms_by_hand() -> None:
    assert norm_shares([9.0, 1.0]) == pytest.approx([0.75, 0.25])
    assert sum(norm_shares([1e-20, 3.0, 2.0])) == pytest.approx(1)
    assert norm_shares([0.0, 0.0]) == [0.0, 0.0]


def test_the_gradient_in_the_features_is_that_of_a_whole_backward_pass() -> None:
    model = make_model().eval()
    batch = make_batches()[0]
    kept = []
    hook = model.fpn.register_forward_hook(
        lambda _m, _i, out: kept.extend(out) or [o.retain_grad() for o in out] and out
    )
    whole = model(batch.images, box_cells=None)
    hook.remove()
    whole.logits.square().sum().backward()
    expected = [float(level.grad.square().sum()) for level in kept]
    model.zero_grad()
    with shared_features(model) as features:
        predictions = model(batch.images, box_cells=None)
        squares = gradient_squares(predictions.logits.square().sum(), features)
    assert len(squares) == 5
    assert min(expected) > 0
    # P7 is made of P6, so the whole pass brings P6 what P7 gets as well; the subnets alone do not.
    for level in (0, 1, 2, 4):
        assert float(squares[level]) == pytest.approx(expected[level], rel=1e-4)


def test_no_parameter_gets_a_gradient_and_no_hook_stays() -> None:
    model = make_model().eval()
    with shared_features(model) as features:
        predictions = model(make_batches()[0].images, box_cells=None)
        gradient_squares(predictions.logits.sum() + predictions.deltas.sum(), features)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.is_grad_enabled()
    assert model(make_batches()[0].images, box_cells=None).logits.requires_grad


def test_gradients_are_switched_back_also_where_the_network_fails() -> None:
    model = make_model().eval()
    model.backbone.layer1.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), shared_features(model):
        model(make_batches()[0].images, box_cells=None)
    assert torch.is_grad_enabled()


def test_a_loss_that_depends_on_nothing_pulls_at_nothing() -> None:
    features = [torch.ones(2, requires_grad=True)]
    assert gradient_squares(torch.zeros(()), features).tolist() == [0.0]
    assert gradient_squares(torch.ones(1, requires_grad=True).sum(), features).tolist() == [0.0]
