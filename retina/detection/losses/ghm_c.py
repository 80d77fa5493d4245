"""Gradient harmonizing: every size of gradient has the same say, however many anchors share it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.chunks import sum_over_chunks
from retina.detection.losses.classification import ClassificationLoss
from retina.structures import AnchorTargets


class GHMCLoss(ClassificationLoss):
    """Cross-entropy of each score over the density of its gradient norm ``g = |p - p*|``, times P.

    The density at g is the number of scores in g's bin, one of ``bins`` between 0 and 1, times ``bins``. The numbers
    are averaged over the steps, ``S = momentum S + (1 - momentum) R``, in a buffer that is part of the checkpoint; the
    first step starts the average at its own numbers. Evaluation reads the average and leaves it as it is.

    Source: Li et al. 2019, Gradient Harmonized Single-stage Detector, sections "GHM-C Loss", "Unit Region
    Approximation" and "Exponential moving average".
    """

    additive = False

    bin_counts: Tensor

    def __init__(self, bins: int = 30, momentum: float = 0.75) -> None:
        """Args: ``bins`` of equal width; ``momentum`` of the average of their numbers, 0 uses each step's own."""
        super().__init__()
        if bins < 1:
            raise ValueError(f"loss.classification.bins must be at least 1, got {bins}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"loss.classification.momentum must be at least 0 and below 1, got {momentum}")
        self.bins, self.momentum = bins, momentum
        # float64 counts every score: float32 stops at 16.8 million, 100 images of a few classes.
        self.register_buffer("bin_counts", torch.zeros(bins, dtype=torch.float64))

    def forward(self, logits: Tensor, targets: AnchorTargets) -> Tensor:
        """Return the scalar loss in float32 (float64 for float64 logits), never waiting for the device.

        Args:
            logits: ``(S, K)`` of any float type.
            targets: which anchors hold an object, and which have no loss.
        """
        self.check_logits(logits)
        mirrored = mirror_present(logits, targets)
        weights = self._weights(mirrored.detach(), targets).to(mirrored.dtype)

        def weighted(chunk: Tensor) -> Tensor:
            return (weights[self._bin(chunk.detach())] * F.softplus(chunk)).sum(dtype=torch.float64)

        return sum_over_chunks(weighted, mirrored).to(mirrored.dtype)

    @torch.no_grad()
    def _weights(self, mirrored: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(bins,)`` float64 weights of a score's cross-entropy, and go on with the average in training."""
        counts = sum_over_chunks(self._count, mirrored)
        # Ignored anchors lie at g = 0. Whole numbers, so they are taken out exactly.
        counts[0] -= len(targets.ignored_index) * mirrored.shape[1]
        totals = torch.cat([counts, counts.new_full((1,), targets.num_positives)])
        if self.sum_over_ranks is not None:
            totals = self.sum_over_ranks(totals)
        counts, positives = totals[:-1], totals[-1].clamp(min=1.0)
        moved = torch.lerp(counts, self.bin_counts, self.momentum)
        average = torch.where(self.bin_counts.sum() > 0, moved, counts)
        if self.training:
            self.bin_counts.copy_(average)
        seen = average > 0
        return torch.where(seen, positives / (self.bins * torch.where(seen, average, 1.0)), 0.0)

    def _count(self, mirrored: Tensor) -> Tensor:
        counts = torch.zeros(self.bins, dtype=torch.float64, device=mirrored.device)
        one = torch.ones((), dtype=torch.float64, device=mirrored.device)
        return counts.scatter_add(0, self._bin(mirrored).flatten(), one.expand(mirrored.numel()))

    def _bin(self, mirrored: Tensor) -> Tensor:
        # Also what is not a number gets a bin: its loss is not finite, which the trainer tells.
        return (mirrored.sigmoid() * self.bins).long().clamp_(min=0, max=self.bins - 1)

    def extra_repr(self) -> str:
        return f"bins={self.bins}, momentum={self.momentum}"


def mirror_present(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return ``(S, K)`` logits in at least float32 whose loss, all taken as absent, is that of ``logits``.

    A class that is present with logit x has the cross-entropy and the gradient norm of one that is absent with -x.
    Ignored anchors get -inf, which costs nothing.
    """
    mirrored = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    positive = (targets.positive_index, targets.positive_labels)
    mirrored[positive] = -mirrored[positive]
    return mirrored.index_fill_(0, targets.ignored_index, -torch.inf)
