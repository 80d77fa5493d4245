"""Losses of box codes beyond L1: each a function of the error of one code, summed over the four codes of a box."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.box import BoxLoss, check_setting

# Where gamma / alpha is larger, the balanced L1 loss cannot be told from gamma times L1, and its `b` leaves float32.
MAX_GAMMA_OVER_ALPHA = 40.0
# 1 / x is finite in float32 from here on; x^2 log(x), which it belongs to, is 0 long before.
SMALLEST_ERROR = 1e-30


class HuberLoss(BoxLoss):
    """Huber loss: half the squared error below ``delta``, linear with slope ``delta`` beyond.

    It is ``delta`` times smooth L1 with ``beta = delta``.

    Source: Huber 1964, Robust Estimation of a Location Parameter.
    """

    space = "deltas"

    def __init__(self, delta: float = 0.1, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("delta", delta, above=True)
        self.delta = delta

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(predicted, target, reduction="none", delta=self.delta).sum(dim=1)

    def extra_repr(self) -> str:
        return f"delta={self.delta}, {super().extra_repr()}"


class MSELoss(BoxLoss):
    """Squared error, without the factor 1/2."""

    space = "deltas"

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).square().sum(dim=1)


class BalancedL1Loss(BoxLoss):
    """Balanced L1: slope ``alpha ln(b |x| + 1)`` below an error of 1, ``gamma`` beyond; ``alpha ln(b + 1) = gamma``.

    So the smaller alpha is, the more small errors count. The integral is ``alpha ((b x + 1) ln(b x + 1) - b x) / b``
    below 1 and grows by ``gamma`` from its value there.

    Source: Pang et al. 2019, Libra R-CNN, eq. 7 (slope), 8 and 9; alpha 0.5 and gamma 1.5 are its own.
    """

    space = "deltas"

    def __init__(self, alpha: float = 0.5, gamma: float = 1.5, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("alpha", alpha, above=True)
        check_setting("gamma", gamma, above=True)
        if gamma > MAX_GAMMA_OVER_ALPHA * alpha:
            raise ValueError(
                f"loss.box.gamma must be at most {MAX_GAMMA_OVER_ALPHA:g} times loss.box.alpha, got {gamma} and {alpha}"
            )
        self.alpha, self.gamma = alpha, gamma

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        error = (predicted - target).abs()
        b = math.expm1(self.gamma / self.alpha)
        grown = b * error.clamp(max=1.0)
        near = self.alpha / b * ((grown + 1.0) * torch.log1p(grown) - grown)
        at_one = self.gamma * (b + 1.0) / b - self.alpha
        return torch.where(error < 1.0, near, self.gamma * (error - 1.0) + at_one).sum(dim=1)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, {super().extra_repr()}"


class FocalL1Loss(BoxLoss):
    """Focal L1: slope ``-alpha x ln(beta x)`` up to an error of 1, ``-alpha ln(beta)`` beyond; ``alpha = e beta``.

    The slope is steepest, 1, at an error of ``1 / (e beta)``: smaller errors count less, and so do larger ones, down
    to nothing from 1 on where beta is 1. The integral is ``alpha x^2 (1 - 2 ln(beta x)) / 4`` up to 1.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, section on FocalL1,
    for the slope and ``alpha = e beta``. The integral is derived from them.
    """

    space = "deltas"

    def __init__(self, beta: float = 0.8, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        if not 1.0 / math.e <= beta <= 1.0:
            raise ValueError(f"loss.box.beta of the focal L1 loss must be between 1/e = 0.368 and 1, got {beta}")
        self.beta = beta

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        error = (predicted - target).abs()
        near = error.clamp(max=1.0)
        # Where x^2 is 0 its factor must be finite in the backward pass too.
        logarithm = torch.where(near > SMALLEST_ERROR, self.beta * near, torch.ones_like(near)).log()
        alpha, slope = math.e * self.beta, -math.log(self.beta)
        inner = 0.25 * alpha * near.square() * (1.0 - 2.0 * logarithm)
        outer = alpha * (slope * (error - 1.0) + 0.25 * (1.0 + 2.0 * slope))
        return torch.where(error < 1.0, inner, outer).sum(dim=1)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, {super().extra_repr()}"
