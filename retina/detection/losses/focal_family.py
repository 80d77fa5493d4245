"""Focal losses of other targets: the IoU of the predicted box, heat around centres, one softmax of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.classification import ClassificationLoss, own_logits
from retina.detection.losses.focal import FOCAL_SUMS, focal_background, focal_sum
from retina.detection.losses.loss import at_least_float32
from retina.ranges import AtLeast0, Share, checked
from retina.structures import AnchorTargets


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the elementwise cross-entropy ``-(y log(p) + (1 - y) log(1 - p))`` for ``target`` y in [0, 1].

    Both terms are positive: the usual ``softplus(x) - y x`` loses the digits of confident scores.
    """
    return target * F.softplus(-logits) + (1.0 - target) * F.softplus(logits)


class IoUAwareLoss(ClassificationLoss):
    """A loss whose score also says how good the box is: ``present`` losses of the positive anchors' own classes, whose
    target is the IoU of their predicted box, beside the focal loss of all absent ones; summed."""

    needs_iou = True
    # Of the focal loss of absent classes: its weight, its exponent, its implementation.
    absent_weight: float = 1.0
    absent_gamma: float
    implementation: str

    def forward(self, logits: Tensor, targets: AnchorTargets, iou: Tensor) -> Tensor:
        self.check_logits(logits)
        # Alpha 0 leaves out the classes that are present.
        absent = self.absent_weight * FOCAL_SUMS[self.implementation](logits, targets, 0.0, self.absent_gamma)
        present = self.present(own_logits(logits, targets), iou.detach())
        return absent + present.sum(dtype=torch.float64).to(absent.dtype)

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        """Return ``(P,)`` losses of ``(P,)`` logits of at least float32, for ``iou`` in [0, 1]."""
        raise NotImplementedError


@checked
class QualityFocalLoss(IoUAwareLoss):
    """Quality focal loss ``|y - p|^beta`` times the cross-entropy, summed; y is an IoU, 0 for absent classes.

    So of absent classes it is the focal loss with beta as gamma.

    Source: Li et al. 2020, Generalized Focal Loss, eq. 2 (there sigma is p).
    """

    def __init__(self, beta: AtLeast0 = 2.0, implementation: Literal["fast", "plain"] = "fast") -> None:
        super().__init__()
        self.beta = self.absent_gamma = beta
        self.implementation = implementation

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        cross_entropy = soft_cross_entropy(logits, iou)
        if self.beta == 0:
            return cross_entropy
        # y - p, on the side where neither y nor p was rounded towards 1.
        gap = torch.where(logits > 0, (-logits).sigmoid() - (1.0 - iou), iou - logits.sigmoid()).abs()
        if self.beta < 1:
            # The loss has a cusp at p = y; its slope there is taken as that of the cross-entropy, times 0.
            gap = gap.clamp(min=torch.finfo(gap.dtype).tiny)
        return gap.pow(self.beta) * cross_entropy


@checked
class VarifocalLoss(IoUAwareLoss):
    """Varifocal loss, summed: only absent classes are focused, present ones count by the IoU ``q`` of their boxes.

    A present class costs ``q`` times the cross-entropy; where q is 0 it is background.

    Source: Zhang et al. 2021, VarifocalNet, definition of VFL.
    """

    def __init__(
        self, alpha: Share = 0.75, gamma: AtLeast0 = 2.0, implementation: Literal["fast", "plain"] = "fast"
    ) -> None:
        super().__init__()
        self.alpha = self.absent_weight = alpha
        self.gamma = self.absent_gamma = gamma
        self.implementation = implementation

    def present(self, logits: Tensor, iou: Tensor) -> Tensor:
        missed = self.alpha * focal_background(logits, self.gamma)
        return torch.where(iou > 0, iou * soft_cross_entropy(logits, iou), missed)


@checked
class PenaltyReducedFocalLoss(ClassificationLoss):
    """Focal loss without alpha whose background near the centre of an object counts less, summed.

    It is ``-(1 - p)^gamma log(p)`` where a class is present, else ``-(1 - y)^beta p^gamma log(1 - p)`` with the heat y.
    The heat comes with the targets: an object heats the grids of the anchor shapes that found it. An anchor of the
    same shape beside it may score too without much of a penalty; far from it nothing changes.

    Source: Law and Deng 2018, CornerNet, eq. 1 (there gamma is alpha); Zhou et al. 2019, Objects as Points, eq. 1.
    """

    needs_heat = True

    def __init__(self, gamma: AtLeast0 = 2.0, beta: AtLeast0 = 4.0) -> None:
        super().__init__()
        self.gamma, self.beta = gamma, beta

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        self.check_logits(logits)
        if targets.heat is None:
            raise ValueError("the targets have no heat: the assigner has to be built with center_heat=True")
        near = (targets.heat.anchor_index, targets.heat.labels)
        # What is near is left out of the background, never subtracted: a logit of -inf costs nothing.
        background = focal_sum(logits.index_put(near, logits.new_full((), -torch.inf)), targets, 0.0, self.gamma)
        faded = (1.0 - targets.heat.heat).pow(self.beta) * focal_background(at_least_float32(logits[near]), self.gamma)
        present = focal_background(-own_logits(logits, targets), self.gamma)
        near_and_present = faded.sum(dtype=torch.float64) + present.sum(dtype=torch.float64)
        return background + near_and_present.to(background.dtype)


@checked
class SoftmaxFocalLoss(ClassificationLoss):
    """Focal loss ``-alpha_y (1 - p_y)^gamma log(p_y)`` of the softmax over K classes and the background, summed.

    One term an anchor, whose class y may be the background. The network has K + 1 outputs an anchor, the last one the
    background's. ``alpha`` weighs objects, ``1 - alpha`` the background; a list has K + 1 weights, the last the
    background's.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5, and its footnote 1 on several classes.
    """

    scores = "softmax"
    alpha_of: Tensor

    def __init__(self, alpha: Share | Sequence[Share] = 0.25, gamma: AtLeast0 = 2.0) -> None:
        super().__init__()
        weights = list(alpha) if isinstance(alpha, Sequence) else [alpha, 1.0 - alpha]
        self.alpha, self.gamma = alpha, gamma
        self.register_buffer("alpha_of", torch.tensor(weights), persistent=False)
        self.num_weights = len(weights) if isinstance(alpha, Sequence) else None

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        self.check_logits(logits)
        if logits.shape[1] < 2:
            raise ValueError("a softmax needs at least one class and the background, got logits of one output")
        logits = at_least_float32(logits)
        # Every anchor is taken as background first; those that are not are replaced, never subtracted.
        background = focal_background(logits[:, :-1].logsumexp(dim=1) - logits[:, -1], self.gamma)
        background = background.index_fill(0, targets.positive_index, 0.0).index_fill(0, targets.ignored_index, 0.0)
        labels = targets.positive_labels
        present = focal_background(others_over_own(logits[targets.positive_index], labels), self.gamma)
        alpha = self.alpha_of[labels] if self.num_weights else self.alpha_of[0]
        total = self.alpha_of[-1] * background.sum(dtype=torch.float64) + (alpha * present).sum(dtype=torch.float64)
        return total.to(logits.dtype)

    def miss(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        return others_over_own(at_least_float32(logits[targets.positive_index]), targets.positive_labels).sigmoid()


def others_over_own(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(P,)`` log odds ``x = log(sum of the others' exp) - own logit`` against the class in ``labels``.

    Then ``1 - p = sigmoid(x)``, so a softmax loss is the loss of a sigmoid at ``x``, to the last digits.
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
    return others - own[:, 0]
