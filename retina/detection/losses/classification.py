"""Classification losses: what they have in common, cross-entropy and focal loss on one-vs-all scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from retina.detection.losses.focal import FOCAL_SUMS
from retina.detection.losses.loss import Loss, at_least_float32
from retina.ranges import AtLeast0, Share, checked
from retina.structures import AnchorTargets


class ClassificationLoss(Loss):
    """A loss of every anchor's class logits against sparse targets: a scalar, which the trainer divides by P.

    It takes ``(S, K)`` logits of any float type, S = B * A anchors in the order of the targets, and returns float32
    (float64 for float64 logits) without waiting for the device. One that normalises itself is P times what its paper
    defines, so that the division leaves the paper's value.
    """

    # How logits become scores: each class by itself, or all with the background, which is the last of K + 1 outputs.
    scores: Literal["sigmoid", "softmax"] = "sigmoid"
    # Whether forward takes a third argument: the IoU (P,) of the positive anchors' predicted boxes with their objects.
    needs_iou = False
    needs_heat = False  # whether the targets must say which background lies near the centre of an object
    num_weights: int | None = None  # how many outputs of an anchor its settings are for; None: any number

    def miss(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(P,)`` probabilities ``1 - p`` of the classes that the positive anchors do hold."""
        return own_logits(logits, targets).neg().sigmoid()

    def check_logits(self, logits: Tensor) -> None:
        """Raise a ValueError for another shape than ``(S, K)``, and for another K than there are weights."""
        if logits.ndim != 2:
            raise ValueError(f"logits must have shape (S, K), got {tuple(logits.shape)}")
        if self.num_weights not in (None, logits.shape[1]):
            raise ValueError(
                f"loss.classification.alpha has {self.num_weights} weights for {logits.shape[1]} outputs of an anchor"
            )


def own_logits(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(P,)`` logits of the positive anchors' own classes, in float32 (float64 for float64 logits)."""
    return at_least_float32(logits[targets.positive_index, targets.positive_labels])


@checked
class FocalLoss(ClassificationLoss):
    """Sigmoid focal loss, summed over the anchors that are not ignored and over the classes.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5 and section 4.1.
    """

    class_alpha: Tensor | None

    def __init__(
        self,
        alpha: Share | Sequence[Share] = 0.25,
        gamma: AtLeast0 = 2.0,
        implementation: Literal["fast", "plain"] = "fast",
    ) -> None:
        """Keep the settings.

        Args:
            alpha: weighs present classes, ``1 - alpha`` absent ones; a list has one weight a class.
            gamma: 0 is cross-entropy.
            implementation: ``fast`` has its gradient in closed form and can be differentiated once; ``plain`` leaves it
                to autograd, which takes several times the time and memory.
        """
        super().__init__()
        self.alpha, self.gamma, self.implementation = alpha, gamma, implementation
        self.num_weights = len(alpha) if isinstance(alpha, Sequence) else None
        # A setting, so not in the checkpoint: it moves with the module to its device.
        self.register_buffer("class_alpha", torch.tensor(alpha) if self.num_weights else None, persistent=False)

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        self.check_logits(logits)
        alpha = self.alpha if self.class_alpha is None else self.class_alpha
        return FOCAL_SUMS[self.implementation](logits, targets, alpha, self.gamma)


@checked
class BalancedCrossEntropyLoss(FocalLoss):
    """Binary cross-entropy, ``alpha`` times where the class is present, ``1 - alpha`` times where it is absent.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 3: the focal loss of gamma 0.
    """

    def __init__(
        self, alpha: Share | Sequence[Share] = 0.75, implementation: Literal["fast", "plain"] = "fast"
    ) -> None:
        super().__init__(alpha, 0.0, implementation)


@checked
class CrossEntropyLoss(FocalLoss):
    """Binary cross-entropy of every class by itself, summed.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 1: twice the balanced one of alpha 1/2, exactly.
    """

    def __init__(self, implementation: Literal["fast", "plain"] = "fast") -> None:
        super().__init__(0.5, 0.0, implementation)

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        return 2.0 * super().forward(logits, targets)
