"""Classification losses: what they have in common, cross-entropy and focal loss on one-vs-all scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retina.detection.losses.focal import focal_sum
from retina.structures import AnchorTargets

IMPLEMENTATIONS = ("fast", "plain")


class ClassificationLoss(nn.Module):
    """A loss of every anchor's class logits against sparse targets: a scalar, which the trainer divides by P.

    One that is no sum over anchors says ``additive = False`` and is P times what its paper defines, so that the
    division leaves the paper's value. It sums what it normalises by over the ranks through ``sum_over_ranks``, a
    function that takes a tensor and returns its sum over the ranks: once in every forward pass, also without positives,
    so that the ranks stay in step.
    """

    additive = True  # whether the sum over parts of a batch is the sum of the batch
    # How logits become scores: each class by itself, or all with the background, which is the last of K + 1 outputs.
    scores: Literal["sigmoid", "softmax"] = "sigmoid"
    # Whether forward takes a third argument: the IoU (P,) of the positive anchors' predicted boxes with their objects.
    needs_iou = False
    needs_heat = False  # whether the targets must say which background lies near the centre of an object
    num_weights: int | None = None  # how many outputs of an anchor its settings are for; None: any number

    def __init__(self) -> None:
        super().__init__()
        self.sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def miss(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(P,)`` probabilities ``1 - p`` of the classes that the positive anchors do hold."""
        return own_logits(logits, targets).neg().sigmoid()

    def check_logits(self, logits: Tensor) -> None:
        """Check the shape ``(S, K)``.

        Raises:
            ValueError: it is another, or K is not the number of weights among the settings.
        """
        if logits.ndim != 2:
            raise ValueError(f"logits must have shape (S, K), got {tuple(logits.shape)}")
        if self.num_weights not in (None, logits.shape[1]):
            raise ValueError(
                f"loss.classification.alpha has {self.num_weights} weights for {logits.shape[1]} outputs of an anchor"
            )


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


def plain_focal_sum(logits: Tensor, targets: AnchorTargets, alpha: float | Tensor, gamma: float) -> Tensor:
    """Return what :func:`~retina.detection.losses.focal.focal_sum` returns, with the gradient of plain autograd.

    Every element is taken as background first; then the few positive elements and ignored anchors are replaced,
    never subtracted: a large number minus itself would leave rounding noise. No ``(S, K)`` one-hot is made.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    positive = (targets.positive_index, targets.positive_labels)

    elements = focal_background(logits, gamma)  # (S, K)
    elements[positive] = 0.0  # in place: nothing saved for backward is overwritten
    if isinstance(alpha, Tensor):
        elements = elements * (1.0 - alpha)
    # Rows are summed in float32, rows together in float64: 8 bytes an anchor, not an element.
    anchors = elements.sum(dim=1).index_fill(0, targets.ignored_index, 0.0)  # (S,)
    absent = anchors.sum(dtype=torch.float64)
    present = focal_background(-logits[positive], gamma)
    if isinstance(alpha, Tensor):
        return (absent + (alpha[targets.positive_labels] * present).sum(dtype=torch.float64)).to(logits.dtype)
    return ((1.0 - alpha) * absent + alpha * present.sum(dtype=torch.float64)).to(logits.dtype)


def own_logits(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(P,)`` logits of the positive anchors' own classes, in float32 (float64 for float64 logits)."""
    own = logits[targets.positive_index, targets.positive_labels]
    return own.to(torch.promote_types(logits.dtype, torch.float32))


def choose_focal_sum(implementation: str) -> Callable[..., Tensor]:
    """Return :func:`focal_sum` for ``fast`` and :func:`plain_focal_sum` for ``plain``."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"loss.classification.implementation must be one of {IMPLEMENTATIONS}, got {implementation!r}")
    return focal_sum if implementation == "fast" else plain_focal_sum


def check_share(name: str, value: float) -> None:
    """Raise a ValueError where the setting ``name`` is not between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"loss.classification.{name} must lie in [0, 1], got {value}")


def check_at_least_0(name: str, value: float) -> None:
    """Raise a ValueError where the setting ``name`` is negative or not finite."""
    if not (value >= 0.0 and math.isfinite(value)):
        raise ValueError(f"loss.classification.{name} must be at least 0 and finite, got {value}")


class FocalLoss(ClassificationLoss):
    """Sigmoid focal loss, summed over the anchors that are not ignored and over the classes.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5 and section 4.1.
    """

    class_alpha: Tensor | None

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        implementation: Literal["fast", "plain"] = "fast",
    ) -> None:
        """Check and keep the settings.

        Args:
            alpha: weighs present classes, ``1 - alpha`` absent ones; a list has one weight a class.
            gamma: 0 is cross-entropy.
            implementation: ``fast`` has its gradient in closed form and can be differentiated once; ``plain`` leaves it
                to autograd, which takes several times the time and memory.
        """
        super().__init__()
        several = isinstance(alpha, Sequence)
        for weight in alpha if isinstance(alpha, Sequence) else [alpha]:
            check_share("alpha", weight)
        check_at_least_0("gamma", gamma)
        self.sum_of = choose_focal_sum(implementation)
        self.alpha, self.gamma, self.implementation = alpha, gamma, implementation
        # A setting, so not in the checkpoint: it moves with the module to its device.
        self.register_buffer("class_alpha", torch.tensor(alpha) if several else None, persistent=False)
        self.num_weights = len(alpha) if isinstance(alpha, Sequence) else None

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return the scalar sum in float32 (float64 for float64 logits), never waiting for the device.

        Args:
            logits: ``(S, K)`` of any float type, S = B * A anchors in the order of ``targets``.
            targets: which anchors hold an object, and which have no loss.
        """
        self.check_logits(logits)
        alpha = self.alpha if self.class_alpha is None else self.class_alpha
        return self.sum_of(logits, targets, alpha, self.gamma)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, implementation={self.implementation}"


class BalancedCrossEntropyLoss(FocalLoss):
    """Binary cross-entropy, ``alpha`` times where the class is present, ``1 - alpha`` times where it is absent.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 3: the focal loss of gamma 0.
    """

    def __init__(
        self, alpha: float | Sequence[float] = 0.75, implementation: Literal["fast", "plain"] = "fast"
    ) -> None:
        """Args: as of :class:`FocalLoss`."""
        super().__init__(alpha, 0.0, implementation)


class CrossEntropyLoss(FocalLoss):
    """Binary cross-entropy of every class by itself, summed.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 1: twice the balanced one of alpha 1/2, exactly.
    """

    def __init__(self, implementation: Literal["fast", "plain"] = "fast") -> None:
        """Args: as of :class:`FocalLoss`."""
        super().__init__(0.5, 0.0, implementation)

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        return 2.0 * super().forward(logits, targets)
