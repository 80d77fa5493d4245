"""One number an anchor: its focal loss, and the probability that it gives to what is true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from retina.detection.losses.focal import focal_background
from retina.detection.losses.focal_family import others_over_own
from retina.structures import AnchorTargets

_ELEMENTS = 4_194_304  # of the logits in one chunk: 16 MB in float32


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
        absent = torch.cat([focal_background(_foreground_odds(chunk), gamma) for chunk in _chunks(logits)])
        present, others = focal_background(others_over_own(own, labels), gamma), torch.zeros(len(own))
    else:
        absent = torch.cat([focal_background(chunk, gamma).sum(dim=1) for chunk in _chunks(logits)])
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
        background = torch.cat([_foreground_odds(chunk).neg().sigmoid() for chunk in _chunks(logits)])
        return background.index_copy_(0, index, others_over_own(own, labels).neg().sigmoid())
    highest = torch.cat([chunk.amax(dim=1) for chunk in _chunks(logits)])
    return highest.neg().sigmoid().index_copy_(0, index, own.gather(1, labels[:, None])[:, 0].sigmoid())


def _foreground_odds(logits: Tensor) -> Tensor:
    """Return ``(S,)`` log odds of any class against the background, which is the last of ``(S, K + 1)`` outputs."""
    return logits[:, :-1].logsumexp(dim=1) - logits[:, -1]


def _chunks(logits: Tensor) -> Iterator[Tensor]:
    for chunk in logits.split(max(1, _ELEMENTS // max(1, logits.shape[1]))):
        yield chunk.float()
