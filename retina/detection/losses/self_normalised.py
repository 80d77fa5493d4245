"""Classification losses that normalise themselves: they depend on which anchors share a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from retina.detection.losses.classification import ClassificationLoss, FocalLoss, own_logits
from retina.detection.losses.loss import at_least_float32
from retina.ranges import AtLeast0, AtLeast1, Share, ShareBelow1, checked
from retina.structures import AnchorTargets

ELEMENTS = 262_144  # of the first tensor in one chunk


def sum_over_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return the sum of ``function(*chunks)`` over chunks of rows of ``(S, ...)`` tensors.

    Of what the function makes, only its result is kept: the rest is made again when going backward. Without rows it is
    called once with empty chunks.
    """
    rows = max(1, ELEMENTS // max(1, tensors[0].shape[1:].numel()))
    chunks = zip(*(tensor.split(rows) for tensor in tensors), strict=True)
    parts = [checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.stack(parts).sum(dim=0)


@checked
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
        alpha: Share | Sequence[Share] = 0.25,
        gamma: AtLeast0 = 2.0,
        dice_weight: AtLeast0 = 1.0,
        smooth: AtLeast0 = 1.0,
        implementation: Literal["fast", "plain"] = "fast",
    ) -> None:
        super().__init__(alpha, gamma, implementation)
        self.dice_weight, self.smooth = dice_weight, smooth  # `smooth` holds small classes near a loss of 0

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        focal = super().forward(logits, targets)
        return focal + self.dice_weight * self._dice(logits, targets).to(focal.dtype)

    def _dice(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return P times the mean Dice loss, float64; on one of several ranks its share of it."""
        totals = _class_totals(logits, targets)
        # Over the ranks, with the gradient of this one's share; and how many ranks there are.
        own = totals.detach()
        summed = self.total(torch.cat([own.flatten(), own.new_ones(1)]))
        overlap, score_squares, counts = totals + (summed[:-1].view_as(own) - own)
        ratio = (2.0 * overlap + self.smooth) / (score_squares + counts + self.smooth)
        present = (counts > 0).to(ratio.dtype)
        dice = counts.sum() * ((1.0 - ratio) * present).sum() / present.sum().clamp(min=1.0)
        # Each rank knows the whole loss and the gradient through its own anchors: values and gradients add up to one.
        return dice.detach() / summed[-1] + (dice - dice.detach())


def _class_totals(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(3, K)`` float64 sums over the anchors: p t, p^2 and t (which is t^2)."""

    def squares_of(logits: Tensor, kept: Tensor) -> Tensor:
        return (at_least_float32(logits).sigmoid().square() * kept).sum(dim=0, dtype=torch.float64)

    kept = torch.ones(len(logits), 1, device=logits.device).index_fill(0, targets.ignored_index, 0.0)
    squares = sum_over_chunks(squares_of, logits, kept)
    scores = own_logits(logits, targets).sigmoid().double()
    nothing = torch.zeros_like(squares.detach())
    overlap = nothing.index_add(0, targets.positive_labels, scores)
    counts = nothing.index_add(0, targets.positive_labels, torch.ones_like(scores))
    return torch.stack([overlap, squares, counts])


@checked
class GHMCLoss(ClassificationLoss):
    """Cross-entropy of each score over the density of its gradient norm ``g = |p - p*|``, times P.

    Every size of gradient has the same say, however many anchors share it. The density at g is the number of scores in
    g's bin, one of ``bins`` of equal width between 0 and 1, times ``bins``. The numbers are averaged over the steps,
    ``S = momentum S + (1 - momentum) R``, in a buffer that is part of the checkpoint; the first step starts the average
    at its own numbers, and with momentum 0 every step does. Evaluation reads the average and leaves it as it is.

    Source: Li et al. 2019, Gradient Harmonized Single-stage Detector, sections "GHM-C Loss", "Unit Region
    Approximation" and "Exponential moving average".
    """

    additive = False
    bin_counts: Tensor

    def __init__(self, bins: AtLeast1 = 30, momentum: ShareBelow1 = 0.75) -> None:
        super().__init__()
        self.bins, self.momentum = bins, momentum
        # float64 counts every score: float32 stops at 16.8 million, 100 images of a few classes.
        self.register_buffer("bin_counts", torch.zeros(bins, dtype=torch.float64))

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        self.check_logits(logits)
        mirrored = mirror_present(logits, targets)
        weights = self._weights(mirrored.detach(), targets).to(mirrored.dtype)

        def weighted(chunk: Tensor) -> Tensor:
            return (weights[self._bin(chunk.detach())] * F.softplus(chunk)).sum(dtype=torch.float64)

        return sum_over_chunks(weighted, mirrored).to(mirrored.dtype)

    @torch.no_grad()
    def _weights(self, mirrored: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(bins,)`` float64 weights of a score's cross-entropy; in training also update the average."""

        def count(chunk: Tensor) -> Tensor:
            counts = torch.zeros(self.bins, dtype=torch.float64, device=chunk.device)
            return counts.scatter_add(0, self._bin(chunk).flatten(), counts.new_ones(()).expand(chunk.numel()))

        counts = sum_over_chunks(count, mirrored)
        # Ignored anchors lie at g = 0. Whole numbers, so they are taken out exactly.
        counts[0] -= len(targets.ignored_index) * mirrored.shape[1]
        totals = self.total(torch.cat([counts, counts.new_full((1,), targets.num_positives)]))
        counts, positives = totals[:-1], totals[-1].clamp(min=1.0)
        moved = torch.lerp(counts, self.bin_counts, self.momentum)
        average = torch.where(self.bin_counts.sum() > 0, moved, counts)
        if self.training:
            self.bin_counts.copy_(average)
        seen = average > 0
        return torch.where(seen, positives / (self.bins * torch.where(seen, average, 1.0)), 0.0)

    def _bin(self, mirrored: Tensor) -> Tensor:
        # Also what is not a number gets a bin: its loss is not finite, which the trainer tells.
        return (mirrored.sigmoid() * self.bins).long().clamp_(min=0, max=self.bins - 1)


def mirror_present(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(S, K)`` logits in at least float32 whose loss, all taken as absent, is that of ``logits``.

    A class that is present with logit x has the cross-entropy and the gradient norm of one that is absent with -x.
    Ignored anchors get -inf, which costs nothing.
    """
    mirrored = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    positive = (targets.positive_index, targets.positive_labels)
    mirrored[positive] = -mirrored[positive]
    return mirrored.index_fill_(0, targets.ignored_index, -torch.inf)
