"""The focal loss of detectors of centres, whose background fades in around an object."""

from __future__ import annotations

import torch
from torch import Tensor

from retina.detection.losses.classification import (
    ClassificationLoss,
    check_at_least_0,
    focal_background,
    own_logits,
)
from retina.detection.losses.focal import focal_sum
from retina.structures import AnchorTargets, BackgroundHeat


def penalty_reduced_focal_sum(
    logits: Tensor, targets: AnchorTargets, heat: BackgroundHeat, *, gamma: float = 2.0, beta: float = 4.0
) -> Tensor:
    """Return the scalar sum of ``-(1 - p)^gamma log(p)`` where a class is present, else ``-(1 - y)^beta p^gamma
    log(1 - p)`` with the heat y, of ``(S, K)`` logits of any float type.

    Source: Law and Deng 2018, CornerNet, eq. 1 (there gamma is alpha); Zhou et al. 2019, Objects as Points, eq. 1.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    near = (heat.anchor_index, heat.labels)
    # What is near is left out of the background, never subtracted: a logit of -inf costs nothing.
    background = focal_sum(logits.index_put(near, logits.new_full((), -torch.inf)), targets, 0.0, gamma)
    faded = (1.0 - heat.heat).pow(beta) * focal_background(logits[near].to(dtype), gamma)
    present = focal_background(-own_logits(logits, targets), gamma)
    return background + (faded.sum(dtype=torch.float64) + present.sum(dtype=torch.float64)).to(dtype)


class PenaltyReducedFocalLoss(ClassificationLoss):
    """Focal loss without alpha whose background near the centre of an object counts less, summed.

    The heat comes with the targets: an object heats the grids of the anchor shapes that found it. An anchor of the
    same shape beside it may score too without much of a penalty; far from it nothing changes.

    Source: Law and Deng 2018, CornerNet, eq. 1 (there gamma is alpha); Zhou et al. 2019, Objects as Points, eq. 1.
    """

    needs_heat = True

    def __init__(self, gamma: float = 2.0, beta: float = 4.0) -> None:
        """Args: ``gamma`` of the focal loss; ``beta``: 0 ignores the heat, larger fades more."""
        super().__init__()
        check_at_least_0("gamma", gamma)
        check_at_least_0("beta", beta)
        self.gamma, self.beta = gamma, beta

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return the scalar sum; arguments as of :class:`~retina.detection.losses.classification.FocalLoss`.

        Raises:
            ValueError: the targets were made without heat.
        """
        self.check_logits(logits)
        if targets.heat is None:
            raise ValueError("the targets have no heat: the assigner has to be built with center_heat=True")
        return penalty_reduced_focal_sum(logits, targets, targets.heat, gamma=self.gamma, beta=self.beta)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, beta={self.beta}"
