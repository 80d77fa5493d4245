"""Shares of a loss from bins, against sorting every single value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.lab.loss_histogram import LossHistogram


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
