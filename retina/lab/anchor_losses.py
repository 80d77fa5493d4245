"""One number an anchor: its focal loss, the probability that it gives to what is true; and what the hardest carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retina.detection.losses.focal import focal_background
from retina.detection.losses.focal_family import others_over_own
from retina.structures import AnchorTargets

_ELEMENTS = 4_194_304  # of the logits in one chunk: 16 MB in float32
# Bins are equally wide in the logarithm, 1.5e-3 of a decade: anchors of one bin differ by at most 0.35 %.
BINS = 10_000
LOWEST, HIGHEST = -12.0, 3.0  # decades; what lies outside is counted at the ends, its sum is exact all the same


@dataclass(frozen=True)
class FocalSettings:
    """Which focal loss is computed anchor by anchor."""

    alpha: float
    gamma: float
    softmax: bool = False


def anchor_focal_losses(logits: Tensor, targets: AnchorTargets, settings: FocalSettings) -> Tensor:
    """Return ``(S,)`` focal losses of ``(S, K)`` logits, each anchor's summed over its classes; also of ignored ones.

    With alpha: ``alpha`` times where the class is present, ``1 - alpha`` times where it is absent.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5.
    """
    index, labels = targets.positive_index, targets.positive_labels
    own = logits[index].float()  # (P, K)
    gamma = settings.gamma
    if settings.softmax:
        absent = _of_anchors(logits, lambda some: focal_background(_foreground_odds(some), gamma))
        present, others = focal_background(others_over_own(own, labels), gamma), torch.zeros(len(own))
    else:
        absent = _of_anchors(logits, lambda some: focal_background(some, gamma).sum(dim=1))
        own_class = own.gather(1, labels[:, None])[:, 0]
        present = focal_background(-own_class, gamma)
        others = focal_background(own.scatter(1, labels[:, None], -torch.inf), gamma).sum(dim=1)
    of_positives = settings.alpha * present + (1.0 - settings.alpha) * others.to(present.device)
    return ((1.0 - settings.alpha) * absent).index_copy_(0, index, of_positives)


def anchor_scores(logits: Tensor, targets: AnchorTargets, *, softmax: bool = False) -> Tensor:
    """Return ``(S,)`` probabilities p_t that anchors give to what is true.

    Of a positive anchor that is the score of its own class; of every other anchor, ignored ones too, 1 minus the
    highest score of any class: how sure it is that there is nothing (softmax: the background's probability).
    """
    index, labels = targets.positive_index, targets.positive_labels
    own = logits[index].float()
    if softmax:
        background = _of_anchors(logits, lambda some: _foreground_odds(some).neg().sigmoid())
        return background.index_copy_(0, index, others_over_own(own, labels).neg().sigmoid())
    highest = _of_anchors(logits, lambda some: some.amax(dim=1))
    return highest.neg().sigmoid().index_copy_(0, index, own.gather(1, labels[:, None])[:, 0].sigmoid())


class LossHistogram:
    """Numbers and sums of losses in bins of their size: of hundreds of millions of anchors in a fixed memory."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.sums = np.zeros(BINS)
        self.not_finite = 0  # losses that could not be counted

    def add(self, losses: Tensor) -> None:
        """Count ``(S,)`` losses of at least 0."""
        values = losses.detach().double().cpu()
        finite = values.isfinite()
        self.not_finite += int((~finite).sum())
        values = values[finite]
        position = (values.clamp(min=10.0**LOWEST).log10() - LOWEST) * (BINS / (HIGHEST - LOWEST))
        index = position.long().clamp_(max=BINS - 1)
        self.counts += torch.bincount(index, minlength=BINS).numpy()
        self.sums += torch.bincount(index, weights=values, minlength=BINS).numpy()

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        return float(self.sums.sum())

    def cumulative(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of anchors, easiest first, and the share of the whole loss that they carry; both from 0.

        Exact at the edge of every bin that holds something, straight between.

        Source: Lin et al. 2017, Focal Loss for Dense Object Detection, figure 4.
        """
        filled = self.counts > 0
        anchors = np.concatenate([[0.0], np.cumsum(self.counts[filled])]) / max(self.count, 1)
        losses = np.concatenate([[0.0], np.cumsum(self.sums[filled])]) / (self.total or 1.0)
        return anchors, losses

    def hardest(self, share: float) -> float | None:
        """Return the share of the loss that the hardest ``share`` of the anchors carry; None where there is no loss."""
        if self.count == 0 or self.total == 0:
            return None
        anchors, losses = self.cumulative()
        return float(1.0 - np.interp(1.0 - share, anchors, losses))

    def curve(self, num_points: int = 201) -> list[float]:
        """Return :meth:`cumulative` at ``num_points`` evenly spaced shares of the anchors, from 0 to 1."""
        return np.interp(np.linspace(0.0, 1.0, num_points), *self.cumulative()).tolist() if self.count else []


def _of_anchors(logits: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``(S,)`` values of ``(S, K)`` logits, computed in portions in float32."""
    portion = max(1, _ELEMENTS // max(1, logits.shape[1]))
    return torch.cat([value(chunk.float()) for chunk in logits.split(portion)])


def _foreground_odds(logits: Tensor) -> Tensor:
    """Return ``(S,)`` log odds of any class against the background, which is the last of ``(S, K + 1)`` outputs."""
    return logits[:, :-1].logsumexp(dim=1) - logits[:, -1]
