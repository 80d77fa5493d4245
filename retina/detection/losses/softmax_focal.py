"""Focal loss of one softmax over the classes and the background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retina.detection.losses.classification import (
    ClassificationLoss,
    check_at_least_0,
    check_share,
    focal_background,
)
from retina.structures import AnchorTargets


def others_over_own(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(P,)`` log odds ``x = log(sum of the others' exp) - own logit`` against the class in ``labels``.

    Then ``1 - p = sigmoid(x)``, so a softmax loss is the loss of a sigmoid at ``x``, to the last digits.
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
    return others - own[:, 0]


class SoftmaxFocalLoss(ClassificationLoss):
    """Focal loss ``-alpha_y (1 - p_y)^gamma log(p_y)`` of the softmax over K classes and the background, summed.

    One term an anchor, whose class y may be the background. The network has K + 1 outputs an anchor, the last one the
    background's.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5, and its footnote 1 on several classes.
    """

    scores = "softmax"

    alpha_of: Tensor

    def __init__(self, alpha: float | Sequence[float] = 0.25, gamma: float = 2.0) -> None:
        """Check and keep the settings.

        Args:
            alpha: weighs objects, ``1 - alpha`` the background; a list has K + 1 weights, the last the background's.
            gamma: 0 is cross-entropy.
        """
        super().__init__()
        weights = list(alpha) if isinstance(alpha, Sequence) else [alpha, 1.0 - alpha]
        for weight in weights:
            check_share("alpha", weight)
        check_at_least_0("gamma", gamma)
        self.alpha, self.gamma = alpha, gamma
        self.register_buffer("alpha_of", torch.tensor(weights), persistent=False)
        self.num_weights = len(weights) if isinstance(alpha, Sequence) else None

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return the scalar sum in float32 (float64 for float64 logits), never waiting for the device.

        Args:
            logits: ``(S, K + 1)`` of any float type.
            targets: which anchors hold an object, and which have no loss.
        """
        self.check_logits(logits)
        if logits.shape[1] < 2:
            raise ValueError("a softmax needs at least one class and the background, got logits of one output")
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Every anchor is taken as background first; those that are not are replaced, never subtracted.
        background = focal_background(logits[:, :-1].logsumexp(dim=1) - logits[:, -1], self.gamma)
        background = background.index_fill(0, targets.positive_index, 0.0).index_fill(0, targets.ignored_index, 0.0)
        labels = targets.positive_labels
        present = focal_background(others_over_own(logits[targets.positive_index], labels), self.gamma)
        alpha = self.alpha_of[labels] if self.num_weights else self.alpha_of[0]
        total = self.alpha_of[-1] * background.sum(dtype=torch.float64) + (alpha * present).sum(dtype=torch.float64)
        return total.to(logits.dtype)

    def miss(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(P,)`` probabilities ``1 - p`` of the classes that the positive anchors do hold."""
        rows = logits[targets.positive_index].to(torch.promote_types(logits.dtype, torch.float32))
        return others_over_own(rows, targets.positive_labels).sigmoid()

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}"
