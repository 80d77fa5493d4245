"""Focal loss beside the overlap of scores and objects of each class, an idea from segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from retina.detection.losses.chunks import sum_over_chunks
from retina.detection.losses.classification import FocalLoss, check_at_least_0, own_logits
from retina.structures import AnchorTargets


class FocalDiceLoss(FocalLoss):
    """Sigmoid focal loss plus ``dice_weight`` P times the mean soft Dice loss of the classes in the batch.

    Of one class, over all anchors that are not ignored, with score p and target t, it is
    ``1 - (2 sum(p t) + smooth) / (sum(p^2) + sum(t^2) + smooth)``. Experimental: made for pixels, of which each is one
    of few; on anchors a class is a handful among some hundred thousand, whose small scores add up in the denominator.

    Source: Milletari et al. 2016, V-Net, section 3 (squares in the denominator); Lin et al. 2017 for the focal loss.
    """

    additive = False

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        dice_weight: float = 1.0,
        smooth: float = 1.0,
        implementation: Literal["fast", "plain"] = "fast",
    ) -> None:
        """Args: ``smooth`` holds small classes near a loss of 0; the others as of :class:`FocalLoss`."""
        super().__init__(alpha, gamma, implementation)
        check_at_least_0("dice_weight", dice_weight)
        check_at_least_0("smooth", smooth)
        self.dice_weight, self.smooth = dice_weight, smooth

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        focal = super().forward(logits, targets)
        return focal + self.dice_weight * self._dice(logits, targets).to(focal.dtype)

    def _dice(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return P times the mean Dice loss, float64; on one of several ranks its share of it."""
        totals, num_ranks = self._over_ranks(_class_totals(logits, targets))
        overlap, score_squares, counts = totals
        ratio = (2.0 * overlap + self.smooth) / (score_squares + counts + self.smooth)
        present = (counts > 0).to(ratio.dtype)
        dice = counts.sum() * ((1.0 - ratio) * present).sum() / present.sum().clamp(min=1.0)
        # Each rank knows the whole loss and the gradient through its own anchors: values and gradients add up to one.
        return dice.detach() / num_ranks + (dice - dice.detach())

    def _over_ranks(self, totals: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of ``(3, K)`` totals over the ranks, with this one's gradient, and their number."""
        own = totals.detach()
        summed = torch.cat([own.flatten(), own.new_ones(1)])
        if self.sum_over_ranks is not None:
            summed = self.sum_over_ranks(summed)
        return totals + (summed[:-1].view_as(own) - own), summed[-1]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dice_weight={self.dice_weight}, smooth={self.smooth}"


def _class_totals(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(3, K)`` float64 sums over the anchors: p t, p^2 and t (which is t^2)."""
    kept = torch.ones(len(logits), 1, device=logits.device).index_fill(0, targets.ignored_index, 0.0)
    squares = sum_over_chunks(_squares, logits, kept)
    scores = own_logits(logits, targets).sigmoid().double()
    nothing = torch.zeros_like(squares.detach())
    overlap = nothing.index_add(0, targets.positive_labels, scores)
    counts = nothing.index_add(0, targets.positive_labels, torch.ones_like(scores))
    return torch.stack([overlap, squares, counts])


def _squares(logits: Tensor, kept: Tensor) -> Tensor:
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    return (scores.square() * kept).sum(dim=0, dtype=torch.float64)
