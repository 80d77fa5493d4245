"""The focal loss of detectors of centres, whose background fades in around an object.

A function only, without an option of ``loss/classification``: which anchors lie near a centre is decided where all
anchors are known, so the assigner would have to make these targets and every batch to carry them; and an anchor here is
positive by its overlap, not by its cell, so that several sizes and shapes would share one heat.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retina.detection.losses.classification import focal_background, own_logits
from retina.detection.losses.focal import focal_sum
from retina.structures import AnchorTargets


@dataclass(frozen=True)
class SoftBackground:
    """Absent classes near an object of theirs; those that are not listed have the heat 0."""

    anchor_index: Tensor  # (M,) int64, neither positive for this label nor ignored; each pair once
    labels: Tensor  # (M,) int64 in [0, K)
    heat: Tensor  # (M,) in [0, 1), near 1 beside the centre of an object


def gaussian_heat(offsets: Tensor, radius: Tensor) -> Tensor:
    """Return ``(M,)`` heats ``exp(-(dx^2 + dy^2) / (2 sigma^2))`` with ``sigma = radius / 3``.

    Source: Law and Deng 2018, CornerNet, section 3.2 (sigma is a third of the radius).

    Args:
        offsets: ``(M, 2)`` from the centre of the object.
        radius: ``(M,)`` of the object, above 0, in the unit of ``offsets``.
    """
    return torch.exp(-4.5 * (offsets / radius[:, None]).square().sum(dim=1))


def penalty_reduced_focal_sum(
    logits: Tensor, targets: AnchorTargets, soft: SoftBackground, *, gamma: float = 2.0, beta: float = 4.0
) -> Tensor:
    """Return the scalar sum of ``-(1 - p)^gamma log(p)`` where a class is present, else ``-(1 - y)^beta p^gamma
    log(1 - p)`` with the heat y, of ``(S, K)`` logits of any float type.

    Source: Law and Deng 2018, CornerNet, eq. 1 (there gamma is alpha); Zhou et al. 2019, Objects as Points, eq. 1.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    near = (soft.anchor_index, soft.labels)
    # What is near is left out of the background, never subtracted: a logit of -inf costs nothing.
    background = focal_sum(logits.index_put(near, logits.new_full((), -torch.inf)), targets, 0.0, gamma)
    faded = (1.0 - soft.heat).pow(beta) * focal_background(logits[near].to(dtype), gamma)
    present = focal_background(-own_logits(logits, targets), gamma)
    return background + (faded.sum(dtype=torch.float64) + present.sum(dtype=torch.float64)).to(dtype)
