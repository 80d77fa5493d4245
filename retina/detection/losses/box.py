"""Box losses, and those of box codes: each a function of the error of one code, summed over the four codes of a box.

No value is reduced and no ``weight`` applied here: the criterion does both.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.loss import Loss
from retina.ranges import Above0, AtLeast0, Between, checked

# Where gamma / alpha is larger, the balanced L1 loss cannot be told from gamma times L1, and its `b` leaves float32.
MAX_GAMMA_OVER_ALPHA = 40.0
# 1 / x is finite in float32 from here on; x^2 log(x), which it belongs to, is 0 long before.
SMALLEST_ERROR = 1e-30


@checked
class BoxLoss(Loss):
    """A loss of one value a box, of whatever it asks the pairs for."""

    def __init__(self, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__()
        self.weight = weight  # beside the classification loss; applied by the criterion

    def forward(self, pairs: BoxPairs) -> Tensor:
        return self.per_box(pairs)

    def per_box(self, pairs: BoxPairs) -> Tensor:
        """Return ``(P,)`` losses of at least float32."""
        raise NotImplementedError


class L1Loss(BoxLoss):
    """L1 distance of box codes, summed over the four: the box loss of the field's RetinaNets."""

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return pairs.code_errors.abs().sum(dim=1)


@checked
class SmoothL1Loss(BoxLoss):
    """Smooth L1 distance of box codes, summed over the four: quadratic below ``beta``, linear beyond.

    Source: Girshick 2015, Fast R-CNN, eq. 3, with the turn at ``beta`` instead of 1 (beta 0 is L1).
    """

    def __init__(self, beta: AtLeast0 = 1.0 / 9.0, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.beta = beta

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return F.smooth_l1_loss(*pairs.codes, reduction="none", beta=self.beta).sum(dim=1)


@checked
class HuberLoss(BoxLoss):
    """Huber loss: half the squared error below ``delta``, linear with slope ``delta`` beyond.

    It is ``delta`` times smooth L1 with ``beta = delta``.

    Source: Huber 1964, Robust Estimation of a Location Parameter.
    """

    def __init__(self, delta: Above0 = 0.1, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.delta = delta

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return F.huber_loss(*pairs.codes, reduction="none", delta=self.delta).sum(dim=1)


class MSELoss(BoxLoss):
    """Squared error, without the factor 1/2."""

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return pairs.code_errors.square().sum(dim=1)


@checked
class BalancedL1Loss(BoxLoss):
    """Balanced L1: slope ``alpha ln(b |x| + 1)`` below an error of 1, ``gamma`` beyond; ``alpha ln(b + 1) = gamma``.

    So the smaller alpha is, the more small errors count. The integral is ``alpha ((b x + 1) ln(b x + 1) - b x) / b``
    below 1 and grows by ``gamma`` from its value there.

    Source: Pang et al. 2019, Libra R-CNN, eq. 7 (slope), 8 and 9; alpha 0.5 and gamma 1.5 are its own.
    """

    def __init__(self, alpha: Above0 = 0.5, gamma: Above0 = 1.5, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        if gamma > MAX_GAMMA_OVER_ALPHA * alpha:
            raise ValueError(
                f"loss.box.gamma must be at most {MAX_GAMMA_OVER_ALPHA:g} times loss.box.alpha, got {gamma} and {alpha}"
            )
        self.alpha, self.gamma = alpha, gamma

    def per_box(self, pairs: BoxPairs) -> Tensor:
        error = pairs.code_errors.abs()
        b = math.expm1(self.gamma / self.alpha)
        grown = b * error.clamp(max=1.0)
        near = self.alpha / b * ((grown + 1.0) * torch.log1p(grown) - grown)
        at_one = self.gamma * (b + 1.0) / b - self.alpha
        return torch.where(error < 1.0, near, self.gamma * (error - 1.0) + at_one).sum(dim=1)


@checked
class FocalL1Loss(BoxLoss):
    """Focal L1: slope ``-alpha x ln(beta x)`` up to an error of 1, ``-alpha ln(beta)`` beyond; ``alpha = e beta``.

    The slope is steepest, 1, at an error of ``1 / (e beta)``: smaller errors count less, and so do larger ones, down
    to nothing from 1 on where beta is 1. The least beta is 1 / e. The integral is
    ``alpha x^2 (1 - 2 ln(beta x)) / 4`` up to 1.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, section on FocalL1,
    for the slope and ``alpha = e beta``. The integral is derived from them.
    """

    def __init__(
        self, beta: Annotated[float, Between(0.36787944117144233, 1)] = 0.8, *, weight: AtLeast0 = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.beta = beta

    def per_box(self, pairs: BoxPairs) -> Tensor:
        error = pairs.code_errors.abs()
        near = error.clamp(max=1.0)
        # Where x^2 is 0 its factor must be finite in the backward pass too.
        logarithm = torch.where(near > SMALLEST_ERROR, self.beta * near, torch.ones_like(near)).log()
        alpha, slope = math.e * self.beta, -math.log(self.beta)
        inner = 0.25 * alpha * near.square() * (1.0 - 2.0 * logarithm)
        outer = alpha * (slope * (error - 1.0) + 0.25 * (1.0 + 2.0 * slope))
        return torch.where(error < 1.0, inner, outer).sum(dim=1)
