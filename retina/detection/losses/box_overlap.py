"""Losses of decoded boxes without a memory, beside the families of GIoU and EIoU: IoU, alpha-IoU, SIoU and WIoU."""

from __future__ import annotations

import torch
from torch import Tensor

from retina.detection.losses.box import OverlapLoss, check_setting
from retina.detection.losses.box_pairs import NEGLIGIBLE, BoxPairs, divide_or_zero

# Boxes that overlap less cost as much as this: 13.8, where the logarithm alone has no bound.
SMALLEST_IOU = 1e-6


def angle_cost(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` SIoU's ``Lambda``: 0 for centres along an axis, 1 for centres along a diagonal.

    The paper's ``1 - 2 sin^2(arcsin(x) - pi / 4)`` with ``x = sin(a)`` is ``sin(2 a)``, twice the sine by the cosine.

    Source: Gevorgyan 2022, SIoU Loss, angle cost.
    """
    way = pairs.center_offsets.abs()
    return divide_or_zero(2.0 * way[:, 0] * way[:, 1], pairs.center_distance_squared)


def siou_distance_cost(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` SIoU's ``Delta``: over x and y the sum of ``1 - exp(-(2 - Lambda) rho)``, from 0 to 2.

    ``rho`` is the squared share that the way between the centres has of the enclosing box, along that axis.

    Source: Gevorgyan 2022, SIoU Loss, distance cost.
    """
    share = divide_or_zero(pairs.center_offsets.square(), pairs.enclosing_sizes.square())
    return -torch.expm1((angle_cost(pairs) - 2.0)[:, None] * share).sum(dim=1)


def siou_shape_cost(pairs: BoxPairs, theta: float) -> Tensor:
    """Return ``(P,)`` SIoU's ``Omega``: over both sides the sum of ``(1 - exp(-|w - w*| / max(w, w*)))^theta``.

    Source: Gevorgyan 2022, SIoU Loss, shape cost.
    """
    difference = (pairs.predicted_sizes - pairs.target_sizes).abs()
    share = divide_or_zero(difference, torch.maximum(pairs.predicted_sizes, pairs.target_sizes))
    return (-torch.expm1(-share)).pow(theta).sum(dim=1)


def wiou_loss(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` losses ``exp(rho^2 / c^2) (1 - IoU)``; the enclosing diagonal c has no gradient.

    A gradient of c would let a loss fall by boxes that drift apart.

    Source: Tong et al. 2023, Wise-IoU, L_WIoUv1.
    """
    diagonal_squared = pairs.enclosing_diagonal_squared.detach()
    # The quotient is below 1 for boxes; for one inside out it has no bound, and its exponential even less.
    distance = divide_or_zero(pairs.center_distance_squared, diagonal_squared).clamp(max=1.0)
    return distance.exp() * (1.0 - pairs.iou)


class IoULoss(OverlapLoss):
    """``1 - IoU``, or ``-ln(IoU)``. Boxes that do not meet their target learn nothing from it.

    Source: Yu et al. 2016, UnitBox, IoU loss layer, has the logarithm; the linear form is what the others extend.
    """

    def __init__(self, *, logarithm: bool = False, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        self.logarithm = logarithm

    def compare(self, pairs: BoxPairs) -> Tensor:
        return -pairs.iou.clamp(min=SMALLEST_IOU).log() if self.logarithm else 1.0 - pairs.iou

    def extra_repr(self) -> str:
        return f"logarithm={self.logarithm}, {super().extra_repr()}"


class AlphaIoULoss(OverlapLoss):
    """``1 - IoU^alpha``: above 1 good matches count more, below 1 poor ones; 1 is the IoU loss.

    Source: He et al. 2021, Alpha-IoU: A Family of Power Intersection over Union Losses; alpha 3 is its choice.
    """

    def __init__(self, alpha: float = 3.0, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("alpha", alpha, above=True)
        self.alpha = alpha

    def compare(self, pairs: BoxPairs) -> Tensor:
        if self.alpha >= 1.0:
            return 1.0 - pairs.iou.pow(self.alpha)
        # The slope of the power is infinite at 0.
        apart = pairs.iou <= NEGLIGIBLE
        power = torch.where(apart, torch.ones_like(pairs.iou), pairs.iou).pow(self.alpha)
        return 1.0 - torch.where(apart, torch.zeros_like(power), power)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, {super().extra_repr()}"


class SIoULoss(OverlapLoss):
    """SCYLLA-IoU: ``1 - IoU + (Delta + Omega) / 2``, distance cost and shape cost.

    The angle cost makes the distance cost of centres along a diagonal smaller than that of centres along an axis.

    Source: Gevorgyan 2022, SIoU Loss: More Powerful Learning for Bounding Box Regression; theta is 2 to 6 there.
    """

    def __init__(self, theta: float = 4.0, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("theta", theta, least=1.0)
        self.theta = theta

    def compare(self, pairs: BoxPairs) -> Tensor:
        return 1.0 - pairs.iou + 0.5 * (siou_distance_cost(pairs) + siou_shape_cost(pairs, self.theta))

    def extra_repr(self) -> str:
        return f"theta={self.theta}, {super().extra_repr()}"


class WIoULoss(OverlapLoss):
    """Wise-IoU v1, see :func:`wiou_loss`; v3, with a memory, stands in :mod:`retina.detection.losses.box_running`."""

    def compare(self, pairs: BoxPairs) -> Tensor:
        return wiou_loss(pairs)
