"""Losses whose score also says how good the box is: the target of a positive anchor is the IoU of its predicted box."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.classification import (
    ClassificationLoss,
    check_at_least_0,
    check_share,
    choose_focal_sum,
    focal_background,
    own_logits,
)
from retina.structures import AnchorTargets


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the elementwise cross-entropy ``-(y log(p) + (1 - y) log(1 - p))`` for ``target`` y in [0, 1].

    Both terms are positive: the usual ``softplus(x) - y x`` loses the digits of confident scores.
    """
    return target * F.softplus(-logits) + (1.0 - target) * F.softplus(logits)


def quality_focal_present(logits: Tensor, iou: Tensor, beta: float) -> Tensor:
    """Return the elementwise quality focal loss ``|y - p|^beta`` times the cross-entropy, for ``iou`` y in [0, 1].

    Source: Li et al. 2020, Generalized Focal Loss, eq. 2 (there sigma is p).
    """
    cross_entropy = soft_cross_entropy(logits, iou)
    if beta == 0:
        return cross_entropy
    # y - p, on the side where neither y nor p was rounded towards 1.
    gap = torch.where(logits > 0, (-logits).sigmoid() - (1.0 - iou), iou - logits.sigmoid()).abs()
    if beta < 1:
        # The loss has a cusp at p = y; its slope there is taken as that of the cross-entropy, times 0.
        gap = gap.clamp(min=torch.finfo(gap.dtype).tiny)
    return gap.pow(beta) * cross_entropy


def varifocal_present(logits: Tensor, iou: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the elementwise varifocal loss: ``q`` times the cross-entropy for ``iou`` q above 0, else background.

    Source: Zhang et al. 2021, VarifocalNet, definition of VFL.
    """
    return torch.where(iou > 0, iou * soft_cross_entropy(logits, iou), alpha * focal_background(logits, gamma))


class IoUAwareLoss(ClassificationLoss):
    """``present`` losses of the positive anchors' own classes, beside the focal loss of all absent ones; summed."""

    needs_iou = True

    def __init__(self, *, absent_weight: float, absent_gamma: float, implementation: Literal["fast", "plain"]) -> None:
        """Args: of the focal loss of absent classes: its weight, its exponent, its ``implementation``."""
        super().__init__()
        self.absent_sum = choose_focal_sum(implementation)
        self.absent_weight, self.absent_gamma, self.implementation = absent_weight, absent_gamma, implementation

    def forward(self, logits: Tensor, targets: AnchorTargets, iou: Tensor) -> Tensor:
        """Return the scalar sum in float32 (float64 for float64 logits), never waiting for the device.

        Args:
            logits: ``(S, K)`` of any float type.
            targets: which anchors hold an object, and which have no loss.
            iou: ``(P,)`` overlap of the positive anchors' predicted boxes with their objects, without a gradient.
        """
        self.check_logits(logits)
        # Alpha 0 leaves out the classes that are present.
        absent = self.absent_weight * self.absent_sum(logits, targets, 0.0, self.absent_gamma)
        present = self.present(own_logits(logits, targets), iou.detach())
        return absent + present.sum(dtype=torch.float64).to(absent.dtype)

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        """Return ``(P,)`` losses of ``(P,)`` logits of at least float32."""
        raise NotImplementedError


class QualityFocalLoss(IoUAwareLoss):
    """Quality focal loss ``|y - p|^beta`` times the cross-entropy, summed; y is an IoU, 0 for absent classes.

    So of absent classes it is the focal loss with beta as gamma.

    Source: Li et al. 2020, Generalized Focal Loss, eq. 2.
    """

    def __init__(self, beta: float = 2.0, implementation: Literal["fast", "plain"] = "fast") -> None:
        """Args: ``beta``: 0 is cross-entropy; ``implementation`` as of the focal loss."""
        check_at_least_0("beta", beta)
        super().__init__(absent_weight=1.0, absent_gamma=beta, implementation=implementation)
        self.beta = beta

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        """See :func:`quality_focal_present`."""
        return quality_focal_present(logits, iou, self.beta)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, implementation={self.implementation}"


class VarifocalLoss(IoUAwareLoss):
    """Varifocal loss, summed: only absent classes are focused, present ones count by the IoU of their boxes.

    Source: Zhang et al. 2021, VarifocalNet, definition of VFL.
    """

    def __init__(
        self, alpha: float = 0.75, gamma: float = 2.0, implementation: Literal["fast", "plain"] = "fast"
    ) -> None:
        """Args: ``alpha`` weighs absent classes, ``gamma`` focuses them; ``implementation`` as of the focal loss."""
        check_share("alpha", alpha)
        check_at_least_0("gamma", gamma)
        super().__init__(absent_weight=alpha, absent_gamma=gamma, implementation=implementation)
        self.alpha, self.gamma = alpha, gamma

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        """See :func:`varifocal_present`."""
        return varifocal_present(logits, iou, self.alpha, self.gamma)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, implementation={self.implementation}"
