"""Losses of codes against formulas written for one error in plain Python, their gradients by definition, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from retina.detection.losses.box import BalancedL1Loss, BoxLoss, FocalL1Loss, HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from tests.detection.losses.box_losses import rows

LOSSES: dict[str, BoxLoss] = {
    "l1": L1Loss(),
    "smooth_l1": SmoothL1Loss(beta=0.5),
    "huber": HuberLoss(delta=0.3),
    "mse": MSELoss(),
    "balanced_l1": BalancedL1Loss(),
    "balanced_l1_flat": BalancedL1Loss(alpha=0.2, gamma=1.0),
    "focal_l1": FocalL1Loss(),
    "focal_l1_least": FocalL1Loss(beta=1 / math.e),
    "focal_l1_most": FocalL1Loss(beta=1.0),
}


def balanced_slope(x: float, alpha: float, gamma: float) -> float:
    """Libra R-CNN's definition of the loss is this slope, with ``alpha ln(b + 1) = gamma``."""
    b = math.exp(gamma / alpha) - 1
    return alpha * math.log(b * x + 1) if x < 1 else gamma


def focal_slope(x: float, beta: float) -> float:
    """The paper's definition of the focal L1 loss is this slope; alpha makes 1 of its largest value."""
    alpha = math.e * beta
    return -alpha * x * math.log(beta * x) if x <= 1 else -alpha * math.log(beta)


# The slope of each loss at an error x > 0.
SLOPES: dict[str, Callable[[float], float]] = {
    "l1": lambda x: 1.0,
    "smooth_l1": lambda x: min(x / 0.5, 1.0),
    "huber": lambda x: min(x, 0.3),
    "mse": lambda x: 2 * x,
    "balanced_l1": lambda x: balanced_slope(x, 0.5, 1.5),
    "balanced_l1_flat": lambda x: balanced_slope(x, 0.2, 1.0),
    "focal_l1": lambda x: focal_slope(x, 0.8),
    "focal_l1_least": lambda x: focal_slope(x, 1 / math.e),
    "focal_l1_most": lambda x: focal_slope(x, 1.0),
}
# `b` of the balanced L1 loss with the settings of its paper, and `b x + 1` at 0.2.
B = math.expm1(3)
GROWN = 0.2 * B + 1

# Both sides of every turn (0.3, 0.5, 1), and none on it.
ERRORS = [1e-6, 1e-3, 0.05, 0.2, 0.29, 0.31, 0.46, 0.51, 0.7, 0.99, 1.01, 1.7, 4.0, 30.0]


def integral(slope: Callable[[float], float], end: float) -> float:
    """Gauss-Legendre from 0 to ``end``, piece by piece between the turns, each piece finer towards 0."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    ends = sorted({0.0, end, *(turn for turn in (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.5, 1.0) if turn < end)})
    total = 0.0
    for low, high in zip(ends, ends[1:], strict=False):
        points = (high - low) / 2 * nodes + (high + low) / 2
        total += (high - low) / 2 * sum(w * slope(float(x)) for w, x in zip(weights, points, strict=True))
    return total


def errors_in_turn(errors: list[float]) -> tuple[Tensor, Tensor]:
    """One box an error, in each of the four codes in turn and with both signs; the other codes are right."""
    target = torch.randn(len(errors), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    predicted = target.clone()
    for row, error in enumerate(errors):
        predicted[row, row % 4] += error if row % 2 else -error
    return predicted, target


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_the_integral_of_the_slope_that_defines_the_loss(name):
    predicted, target = errors_in_turn(ERRORS)
    expected = [integral(SLOPES[name], error) for error in ERRORS]
    np.testing.assert_allclose(LOSSES[name](rows(predicted, target)).numpy(), expected, rtol=1e-8, atol=1e-13)
    in_float32 = LOSSES[name](rows(predicted.float(), target.float())).numpy()
    np.testing.assert_allclose(in_float32, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_the_slope_with_the_sign_of_the_error(name):
    predicted, target = errors_in_turn(ERRORS)
    predicted.requires_grad_()
    LOSSES[name](rows(predicted, target)).sum().backward()
    expected = np.zeros((len(ERRORS), 4))
    for row, error in enumerate(ERRORS):
        expected[row, row % 4] = SLOPES[name](error) * (1 if row % 2 else -1)
    np.testing.assert_allclose(predicted.grad.numpy(), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name):
    generator = torch.Generator().manual_seed(7)
    predicted = torch.randn(12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda deltas: LOSSES[name](rows(deltas, target)), predicted)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", 0 + 1 + 3 + 0.2),
        # Beyond beta |x| - beta / 2, below x^2 / (2 beta).
        ("smooth_l1", 0 + (1 - 0.25) + (3 - 0.25) + 0.2**2),
        ("huber", 0 + 0.3 * (1 - 0.15) + 0.3 * (3 - 0.15) + 0.2**2 / 2),
        ("mse", 0 + 1 + 9 + 0.04),
        # b = e^3 - 1; at 1 gamma (b + 1) / b - alpha.
        ("balanced_l1", 2 * (1.5 * (B + 1) / B - 0.5) + 1.5 * 2 + 0.5 / B * (GROWN * math.log(GROWN) - 0.2 * B)),
        # alpha = e: x^2 (1 - 2 ln x) / 4, and nothing more from 1 on.
        ("focal_l1_most", 2 * math.e / 4 + math.e * 0.04 * (1 + 2 * math.log(5)) / 4),
    ],
)
def test_values_are_those_computed_by_hand(name, expected):
    predicted, target = torch.tensor([[0.0, 1.0, -2.0, 0.1]]), torch.tensor([[0.0, 0.0, 1.0, 0.3]])
    assert LOSSES[name](rows(predicted, target)).item() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_right_codes_cost_exactly_nothing_and_pull_nowhere(name):
    codes = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    predicted = codes.clone().requires_grad_()
    value = LOSSES[name](rows(predicted, codes))
    value.sum().backward()
    assert value.abs().max() == 0
    assert predicted.grad.abs().max() == 0


@pytest.mark.parametrize("error", [1e-45, 1e-38, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e18])
@pytest.mark.parametrize("name", LOSSES)
def test_errors_of_any_size_have_a_finite_loss_and_gradient(name, error):
    predicted = torch.tensor([[error, -error, error, 0.0]], requires_grad=True)
    value = LOSSES[name](rows(predicted, torch.zeros(1, 4)))
    value.sum().backward()
    assert 0 <= value.item() < 1e38
    assert predicted.grad.isfinite().all()


def test_smooth_l1_with_beta_zero_is_l1():
    predicted, target = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(SmoothL1Loss(beta=0.0)(rows(predicted, target)), L1Loss()(rows(predicted, target)))


@pytest.mark.parametrize("delta", [0.05, 0.7, 3.0])
def test_huber_is_delta_times_smooth_l1_of_beta_delta(delta):
    predicted, target = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    smooth = SmoothL1Loss(beta=delta)(rows(predicted, target))
    torch.testing.assert_close(HuberLoss(delta=delta)(rows(predicted, target)), delta * smooth)


def test_huber_of_a_large_delta_is_half_the_squared_error():
    predicted, target = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(HuberLoss(delta=1e3)(rows(predicted, target)), MSELoss()(rows(predicted, target)) / 2)


def test_balanced_l1_of_a_large_alpha_is_gamma_times_smooth_l1():
    predicted, target = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    balanced = BalancedL1Loss(alpha=1e5, gamma=1.5)(rows(predicted, target))
    torch.testing.assert_close(balanced, 1.5 * SmoothL1Loss(beta=1.0)(rows(predicted, target)), rtol=1e-4, atol=1e-6)


def test_balanced_l1_of_a_small_alpha_tends_to_gamma_times_l1():
    predicted, target = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    balanced = BalancedL1Loss(alpha=0.04, gamma=1.5)(rows(predicted, target))
    torch.testing.assert_close(balanced, 1.5 * L1Loss()(rows(predicted, target)), rtol=0, atol=4 * 0.04 * 2)


def test_focal_l1_pulls_hardest_by_one_at_its_turning_point():
    errors = torch.linspace(0.001, 3.0, 3000, dtype=torch.float64)
    predicted = torch.zeros(3000, 4, dtype=torch.float64)
    predicted[:, 0] = errors
    predicted.requires_grad_()
    FocalL1Loss(beta=0.8)(rows(predicted, torch.zeros_like(predicted))).sum().backward()
    slope = predicted.grad[:, 0]
    assert slope.max().item() == pytest.approx(1.0, abs=1e-6)
    assert errors[slope.argmax()].item() == pytest.approx(1 / (math.e * 0.8), abs=1e-3)
