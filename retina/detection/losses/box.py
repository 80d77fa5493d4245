"""Box losses: how far each positive anchor's prediction lies from its object, one value a box.

The functions are the papers' arithmetic on measured pairs of boxes; the modules hold the settings and say in which
``space`` they compare. No value is reduced and no ``weight`` applied here: the criterion does both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retina.detection.losses.box_pairs import NEGLIGIBLE, BoxPairs, divide_or_zero, positive_part


def giou_loss(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` losses ``1 - IoU + (C - U) / C``, C the area of the enclosing box and U of the union.

    Source: Rezatofighi et al. 2019, Generalized Intersection over Union, ``L_GIoU = 1 - GIoU``.
    """
    return 1.0 - pairs.iou + divide_or_zero(pairs.enclosing_area - pairs.union, pairs.enclosing_area)


def diou_loss(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` losses ``1 - IoU + rho^2 / c^2``: distance of the centres over the enclosing diagonal, squared.

    Source: Zheng et al. 2020, Distance-IoU Loss, L_DIoU.
    """
    return 1.0 - pairs.iou + divide_or_zero(pairs.center_distance_squared, pairs.enclosing_diagonal_squared)


def aspect_difference(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` CIoU's ``v``: squared difference of the angles ``arctan(w / h)``, from 0 to 1.

    Source: Zheng et al. 2020, Distance-IoU Loss, definition of v.
    """
    return (2.0 / math.pi * (_aspect_angle(pairs.target_sizes) - _aspect_angle(pairs.predicted_sizes))).square()


def ciou_loss(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` losses ``DIoU loss + alpha v``; the trade-off ``alpha = v / (1 - IoU + v)`` has no gradient.

    Source: Zheng et al. 2020, Distance-IoU Loss, L_CIoU; alpha is a constant in the authors' code.
    """
    v = aspect_difference(pairs)
    alpha = divide_or_zero(v.detach(), 1.0 - pairs.iou.detach() + v.detach())
    return diou_loss(pairs) + alpha * v


def eiou_loss(pairs: BoxPairs) -> Tensor:
    """Return ``(P,)`` losses ``1 - IoU + rho^2 / (Cw^2 + Ch^2) + (w - w*)^2 / Cw^2 + (h - h*)^2 / Ch^2``.

    Cw and Ch are the sides of the enclosing box. This is the Efficient IoU; another loss of the same short name,
    the Extended IoU of Peng et al. 2021, is what mmdetection calls EIoU.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, eq. 7.
    """
    difference_squared = (pairs.predicted_sizes - pairs.target_sizes).square()
    sides = divide_or_zero(difference_squared, pairs.enclosing_sizes.square()).sum(dim=1)
    return diou_loss(pairs) + sides


def check_setting(name: str, value: float, *, least: float = 0.0, below: float = math.inf, above: bool = False) -> None:
    """Raise a ValueError that names ``loss.box.<name>`` unless ``least <= value < below`` (``above``: ``least <``)."""
    if not (least <= value < below) or (above and value == least):
        start = "greater than" if above else "at least"
        end = "finite" if below == math.inf else f"below {below:g}"
        raise ValueError(f"loss.box.{name} must be {start} {least:g} and {end}, got {value}")


def comparable(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return two sets of ``(P, 4)`` rows in float32 (float64 for float64 targets).

    Raises:
        ValueError: their shapes are others.
    """
    if predicted.shape != target.shape or predicted.ndim != 2 or predicted.shape[1] != 4:
        raise ValueError(
            f"predicted and target must both have shape (P, 4), got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    dtype = torch.promote_types(target.dtype, torch.float32)
    return predicted.to(dtype), target.to(dtype)


class BoxLoss(nn.Module):
    """A loss of one value a box, in the space of box codes or of boxes."""

    space: Literal["deltas", "boxes"]

    # Set where `additive` is False and there are several ranks: takes a tensor, returns its sum over them.
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def __init__(self, *, weight: float = 1.0) -> None:
        """Args: ``weight`` of the box loss beside the classification loss; applied by the criterion."""
        super().__init__()
        check_setting("weight", weight)
        self.weight = weight

    @property
    def additive(self) -> bool:
        """Whether the sum over parts of a batch is the sum of the batch."""
        return True

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return ``(P,)`` losses in float32 (float64 for float64 targets) of ``(P, 4)`` rows in ``space``."""
        return self.per_box(*comparable(predicted, target))

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return ``(P,)`` losses; both arguments ``(P, 4)`` of at least float32."""
        raise NotImplementedError

    def total(self, local: Tensor) -> Tensor:
        """Return ``local`` summed over the ranks.

        A loss that needs it calls it once in every forward pass, also on a rank without boxes, so that the ranks stay
        in step.
        """
        return local if self.sum_over_ranks is None else self.sum_over_ranks(local)

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class SmoothL1Loss(BoxLoss):
    """Smooth L1 distance of box codes, summed over the four: quadratic below ``beta``, linear beyond.

    Source: Girshick 2015, Fast R-CNN, eq. 3, with the turn at ``beta`` instead of 1 (beta 0 is L1).
    """

    space = "deltas"

    def __init__(self, beta: float = 1.0 / 9.0, *, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("beta", beta)
        self.beta = beta

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(predicted, target, reduction="none", beta=self.beta).sum(dim=1)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, {super().extra_repr()}"


class L1Loss(BoxLoss):
    """L1 distance of box codes, summed over the four: the box loss of the field's RetinaNets."""

    space = "deltas"

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).abs().sum(dim=1)


class OverlapLoss(BoxLoss):
    """A loss that compares decoded boxes through measures of the pair."""

    space = "boxes"

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return self.compare(BoxPairs(predicted, target))

    def compare(self, pairs: BoxPairs) -> Tensor:
        """Return ``(P,)`` losses of ``pairs``."""
        raise NotImplementedError


class GIoULoss(OverlapLoss):
    """Generalised IoU, see :func:`giou_loss`."""

    def compare(self, pairs: BoxPairs) -> Tensor:
        return giou_loss(pairs)


class DIoULoss(OverlapLoss):
    """Distance IoU, see :func:`diou_loss`."""

    def compare(self, pairs: BoxPairs) -> Tensor:
        return diou_loss(pairs)


class CIoULoss(OverlapLoss):
    """Complete IoU, see :func:`ciou_loss`."""

    def compare(self, pairs: BoxPairs) -> Tensor:
        return ciou_loss(pairs)


class EIoULoss(OverlapLoss):
    """Efficient IoU, see :func:`eiou_loss`."""

    def compare(self, pairs: BoxPairs) -> Tensor:
        return eiou_loss(pairs)


class FocalEIoULoss(OverlapLoss):
    """``IoU^gamma`` times the EIoU loss: good matches count more. The weight has no gradient.

    A box that does not meet its target has weight 0 (unless gamma is 0), so it learns nothing from this loss.

    With ``normalise_weights`` the weights are divided by their mean over the positives, so that a sum over P boxes is
    P times the weighted mean. Then the loss depends on which boxes share a batch and is not additive.

    Source: Zhang et al. 2021, Focal and Efficient IOU Loss for Accurate Bounding Box Regression, eq. 10.
    """

    def __init__(self, gamma: float = 0.5, *, normalise_weights: bool = False, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        check_setting("gamma", gamma)
        self.gamma, self.normalise_weights = gamma, normalise_weights

    @property
    def additive(self) -> bool:
        return not self.normalise_weights

    def compare(self, pairs: BoxPairs) -> Tensor:
        weights = pairs.iou.detach().pow(self.gamma)
        if self.normalise_weights:
            weights = weights / self._mean(weights)
        return weights * eiou_loss(pairs)

    def _mean(self, weights: Tensor) -> Tensor:
        """Return the scalar mean of ``weights`` over all ranks, kept away from 0."""
        totals = self.total(torch.stack([weights.sum(), weights.new_full((), len(weights))]))
        return (totals[0] / totals[1].clamp(min=1.0)).clamp(min=NEGLIGIBLE)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, normalise_weights={self.normalise_weights}, {super().extra_repr()}"


def _aspect_angle(sizes: Tensor) -> Tensor:
    """Return ``(P,)`` angles ``arctan(w / h)``; 0, without a gradient, where both sides are negligible."""
    sides = positive_part(sizes)
    usable = sides.square().sum(dim=1) > NEGLIGIBLE
    width = torch.where(usable, sides[:, 0], torch.zeros_like(sides[:, 0]))
    height = torch.where(usable, sides[:, 1], torch.ones_like(sides[:, 1]))
    return torch.atan2(width, height)
