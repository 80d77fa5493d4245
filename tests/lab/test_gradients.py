"""Gradients in the shared features, against those that a backward pass through the whole network leaves."""

from __future__ import annotations

import pytest
import torch

from retina.lab.gradients import gradient_squares, norm_shares, shared_features
from tests.lab.small_network import make_batches, make_model


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
