"""Classification losses: one-vs-all scores of every anchor against sparse targets, summed."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retina.detection.losses.focal import focal_sum
from retina.structures import AnchorTargets

IMPLEMENTATIONS = ("fast", "plain")


def focal_background(logits: Tensor, gamma: float) -> Tensor:
    """Return the elementwise focal loss ``-p^gamma log(1 - p)`` of classes that are absent, ``p = sigmoid(logits)``.

    The loss is symmetric: of a class that is present it is ``focal_background(-logits, gamma)``. So ``1 - p`` is
    never formed, which would lose every digit of a confident score. Without alpha; not reduced.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4.
    """
    cross_entropy = F.softplus(logits)
    if gamma == 0:
        return cross_entropy
    p = logits.sigmoid()
    if gamma < 1:
        # p^gamma has an infinite slope at p = 0, where its true contribution is 0: inf * 0 would be NaN.
        p = p.clamp(min=torch.finfo(p.dtype).tiny)
    return p.pow(gamma) * cross_entropy


def plain_focal_sum(logits: Tensor, targets: AnchorTargets, alpha: float, gamma: float) -> Tensor:
    """Return what :func:`~retina.detection.losses.focal.focal_sum` returns, with the gradient of plain autograd.

    Every element is taken as background first; then the few positive elements and ignored anchors are replaced,
    never subtracted: a large number minus itself would leave rounding noise. No ``(S, K)`` one-hot is made.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    positive = (targets.positive_index, targets.positive_labels)

    elements = focal_background(logits, gamma)  # (S, K)
    elements[positive] = 0.0  # in place: nothing saved for backward is overwritten
    # Rows are summed in float32, rows together in float64: 8 bytes an anchor, not an element.
    anchors = elements.sum(dim=1).index_fill(0, targets.ignored_index, 0.0)  # (S,)
    absent = anchors.sum(dtype=torch.float64)
    present = focal_background(-logits[positive], gamma).sum(dtype=torch.float64)
    return ((1.0 - alpha) * absent + alpha * present).to(logits.dtype)


class FocalLoss(nn.Module):
    """Sigmoid focal loss, summed over the anchors that are not ignored and over the classes.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5 and section 4.1.
    """

    additive = True  # the sum over parts of a batch is the sum of the batch

    def __init__(
        self, alpha: float = 0.25, gamma: float = 2.0, implementation: Literal["fast", "plain"] = "fast"
    ) -> None:
        """Check and keep the settings.

        Args:
            alpha: weighs present classes, ``1 - alpha`` absent ones.
            gamma: 0 is cross-entropy.
            implementation: ``fast`` has its gradient in closed form and can be differentiated once; ``plain`` leaves it
                to autograd, which takes several times the time and memory.
        """
        super().__init__()
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"loss.classification.alpha must lie in [0, 1], got {alpha}")
        if not (gamma >= 0.0 and math.isfinite(gamma)):
            raise ValueError(f"loss.classification.gamma must be at least 0 and finite, got {gamma}")
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(
                f"loss.classification.implementation must be one of {IMPLEMENTATIONS}, got {implementation!r}"
            )
        self.alpha, self.gamma, self.implementation = alpha, gamma, implementation

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return the scalar sum in float32 (float64 for float64 logits), never waiting for the device.

        Args:
            logits: ``(S, K)`` of any float type, S = B * A anchors in the order of ``targets``.
            targets: which anchors hold an object, and which have no loss.
        """
        if logits.ndim != 2:
            raise ValueError(f"logits must have shape (S, K), got {tuple(logits.shape)}")
        sum_of = focal_sum if self.implementation == "fast" else plain_focal_sum
        return sum_of(logits, targets, self.alpha, self.gamma)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, implementation={self.implementation}"
