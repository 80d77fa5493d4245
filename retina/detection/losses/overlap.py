"""Box losses of overlap: they compare decoded boxes in pixels, by measures of the pair."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import NEGLIGIBLE, BoxPairs, divide_or_zero, positive_part
from retina.ranges import Above0, AtLeast, AtLeast0, checked

# Boxes that overlap less cost as much as this: 13.8, where the logarithm alone has no bound.
SMALLEST_IOU = 1e-6


@checked
class IoULoss(BoxLoss):
    """``1 - IoU``, or ``-ln(IoU)``. Boxes that do not meet their target learn nothing from it.

    Source: Yu et al. 2016, UnitBox, IoU loss layer, has the logarithm; the linear form is what the others extend.
    """

    def __init__(self, *, logarithm: bool = False, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.logarithm = logarithm

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return -pairs.iou.clamp(min=SMALLEST_IOU).log() if self.logarithm else 1.0 - pairs.iou


@checked
class AlphaIoULoss(BoxLoss):
    """``1 - IoU^alpha``: above 1 good matches count more, below 1 poor ones; 1 is the IoU loss.

    Source: He et al. 2021, Alpha-IoU: A Family of Power Intersection over Union Losses; alpha 3 is its choice.
    """

    def __init__(self, alpha: Above0 = 3.0, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha

    def per_box(self, pairs: BoxPairs) -> Tensor:
        if self.alpha >= 1.0:
            return 1.0 - pairs.iou.pow(self.alpha)
        # The slope of the power is infinite at 0.
        apart = pairs.iou <= NEGLIGIBLE
        power = torch.where(apart, torch.ones_like(pairs.iou), pairs.iou).pow(self.alpha)
        return 1.0 - torch.where(apart, torch.zeros_like(power), power)


class GIoULoss(BoxLoss):
    """Generalised IoU: ``1 - IoU + (C - U) / C``, C the area of the enclosing box and U of the union.

    Source: Rezatofighi et al. 2019, Generalized Intersection over Union, ``L_GIoU = 1 - GIoU``.
    """

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return 1.0 - pairs.iou + divide_or_zero(pairs.enclosing_area - pairs.union, pairs.enclosing_area)


class DIoULoss(BoxLoss):
    """Distance IoU: ``1 - IoU + rho^2 / c^2``, the distance of the centres over the enclosing diagonal.

    Source: Zheng et al. 2020, Distance-IoU Loss, L_DIoU.
    """

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return 1.0 - pairs.iou + divide_or_zero(pairs.center_distance_squared, pairs.enclosing_diagonal_squared)


class CIoULoss(DIoULoss):
    """Complete IoU: ``DIoU loss + alpha v``; v is the squared difference of the angles ``arctan(w / h)``, from 0 to 1.

    The trade-off ``alpha = v / (1 - IoU + v)`` has no gradient.

    Source: Zheng et al. 2020, Distance-IoU Loss, L_CIoU and v; alpha is a constant in the authors' code.
    """

    def per_box(self, pairs: BoxPairs) -> Tensor:
        v = (2.0 / math.pi * (_aspect_angle(pairs.true_sizes) - _aspect_angle(pairs.predicted_sizes))).square()
        alpha = divide_or_zero(v.detach(), 1.0 - pairs.iou.detach() + v.detach())
        return super().per_box(pairs) + alpha * v


class EIoULoss(DIoULoss):
    """Efficient IoU: ``1 - IoU + rho^2 / (Cw^2 + Ch^2) + (w - w*)^2 / Cw^2 + (h - h*)^2 / Ch^2``.

    Cw and Ch are the sides of the enclosing box. Another loss of the same short name, the Extended IoU of Peng et al.
    2021, is what mmdetection calls EIoU.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, eq. 7.
    """

    def per_box(self, pairs: BoxPairs) -> Tensor:
        difference_squared = (pairs.predicted_sizes - pairs.true_sizes).square()
        return super().per_box(pairs) + divide_or_zero(difference_squared, pairs.enclosing_sizes.square()).sum(dim=1)


@checked
class FocalEIoULoss(EIoULoss):
    """``IoU^gamma`` times the EIoU loss: good matches count more. The weight has no gradient.

    A box that does not meet its target has weight 0 (unless gamma is 0), so it learns nothing from this loss.

    With ``normalise_weights`` the weights are divided by their mean over the positives, so that a sum over P boxes is
    P times the weighted mean. Then the loss depends on which boxes share a batch and is not additive.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, eq. 10.
    """

    def __init__(self, gamma: AtLeast0 = 0.5, *, normalise_weights: bool = False, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.gamma, self.normalise_weights = gamma, normalise_weights
        self.additive = not normalise_weights

    def per_box(self, pairs: BoxPairs) -> Tensor:
        weights = pairs.iou.detach().pow(self.gamma)
        if self.normalise_weights:
            total, number = self.total_and_number(weights)
            weights = weights / (total / number.clamp(min=1.0)).clamp(min=NEGLIGIBLE)
        return weights * super().per_box(pairs)


@checked
class SIoULoss(BoxLoss):
    """SCYLLA-IoU: ``1 - IoU + (Delta + Omega) / 2``, distance cost and shape cost.

    ``Delta`` is over x and y the sum of ``1 - exp(-(2 - Lambda) rho)``, from 0 to 2; ``rho`` is the squared share that
    the way between the centres has of the enclosing box, along that axis. The angle cost ``Lambda`` makes it smaller
    for centres along a diagonal than along an axis. ``Omega`` is over both sides the sum of
    ``(1 - exp(-|w - w*| / max(w, w*)))^theta``.

    Source: Gevorgyan 2022, SIoU Loss: More Powerful Learning for Bounding Box Regression; theta is 2 to 6 there.
    """

    def __init__(self, theta: Annotated[float, AtLeast(1)] = 4.0, *, weight: AtLeast0 = 1.0) -> None:
        super().__init__(weight=weight)
        self.theta = theta

    def per_box(self, pairs: BoxPairs) -> Tensor:
        overlap = 1.0 - pairs.iou
        rho = divide_or_zero(pairs.center_offsets.square(), pairs.enclosing_sizes.square())
        distance = -torch.expm1((angle_cost(pairs) - 2.0)[:, None] * rho).sum(dim=1)
        difference = (pairs.predicted_sizes - pairs.true_sizes).abs()
        share = divide_or_zero(difference, torch.maximum(pairs.predicted_sizes, pairs.true_sizes))
        shape = (-torch.expm1(-share)).pow(self.theta).sum(dim=1)
        return overlap + 0.5 * (distance + shape)


class WIoULoss(BoxLoss):
    """Wise-IoU v1: ``exp(rho^2 / c^2) (1 - IoU)``; the enclosing diagonal c has no gradient.

    A gradient of c would let a loss fall by boxes that drift apart.

    Source: Tong et al. 2023, Wise-IoU, L_WIoUv1.
    """

    def per_box(self, pairs: BoxPairs) -> Tensor:
        diagonal_squared = pairs.enclosing_diagonal_squared.detach()
        # The quotient is below 1 for boxes; for one inside out it has no bound, and its exponential even less.
        distance = divide_or_zero(pairs.center_distance_squared, diagonal_squared).clamp(max=1.0)
        return distance.exp() * (1.0 - pairs.iou)


def angle_cost(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` SIoU's ``Lambda``: 0 for centres along an axis, 1 for centres along a diagonal.

    The paper's ``1 - 2 sin^2(arcsin(x) - pi / 4)`` with ``x = sin(a)`` is ``sin(2 a)``, twice the sine by the cosine.

    Source: Gevorgyan 2022, SIoU Loss, angle cost.
    """
    way = pairs.center_offsets.abs()
    return divide_or_zero(2.0 * way[:, 0] * way[:, 1], pairs.center_distance_squared)


def _aspect_angle(sizes: Tensor) -> Tensor:
    """Return ``(P,)`` angles ``arctan(w / h)``; 0, without a gradient, where both sides are negligible."""
    sides = positive_part(sizes)
    usable = sides.square().sum(dim=1) > NEGLIGIBLE
    width = torch.where(usable, sides[:, 0], torch.zeros_like(sides[:, 0]))
    height = torch.where(usable, sides[:, 1], torch.ones_like(sides[:, 1]))
    return torch.atan2(width, height)
