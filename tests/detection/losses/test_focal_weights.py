"""Focal weights of boxes: by hand, their mean, and what the ranks tell each other."""

from __future__ import annotations

import pytest
import torch

from retina.detection.losses.focal_weights import FocalWeights
from retina.errors import ConfigError


def test_weights_are_the_focal_factors_over_their_mean_computed_by_hand():
    weights = FocalWeights(2.0)(torch.tensor([0.1, 0.3, 0.0]))
    assert weights.tolist() == pytest.approx([0.01 * 30, 0.09 * 30, 0.0])
    assert weights.mean().item() == pytest.approx(1.0)


def test_gamma_zero_weighs_all_boxes_the_same():
    assert FocalWeights(0.0)(torch.tensor([0.0, 0.5, 1.0])).tolist() == [1, 1, 1]


def test_they_have_no_gradient():
    assert not FocalWeights(1.0)(torch.rand(3, requires_grad=True)).requires_grad


@pytest.mark.parametrize("miss", [torch.zeros(3), torch.zeros(0)], ids=["certain", "no positives"])
def test_where_there_is_nothing_to_weigh_they_are_finite(miss):
    assert torch.isfinite(FocalWeights(2.0)(miss)).all()


def test_the_mean_is_that_of_all_ranks():
    weights, asked = FocalWeights(1.0), []
    weights.sum_over_ranks = lambda totals: asked.append(totals) or totals + torch.tensor([2.4, 3.0])
    assert weights(torch.tensor([0.2, 0.4])).tolist() == pytest.approx([0.2 / 0.6, 0.4 / 0.6])
    weights(torch.zeros(0))
    assert len(asked) == 2, "also a rank without positives is asked"


@pytest.mark.parametrize("gamma", [-1.0, float("inf"), float("nan")])
def test_an_impossible_gamma_is_named(gamma):
    with pytest.raises(ConfigError, match=r"loss\.box\.focal_gamma must be at least 0 and finite"):
        FocalWeights(gamma)
