"""What share of a loss the hardest anchors carry, from hundreds of millions of them, in a fixed memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Bins are equally wide in the logarithm, 1.5e-3 of a decade: anchors of one bin differ by at most 0.35 %.
BINS = 10_000
LOWEST, HIGHEST = -12.0, 3.0  # decades; what lies outside is counted at the ends, its sum is exact all the same


class LossHistogram:
    """Numbers and sums of losses, sorted into bins of their size."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.sums = np.zeros(BINS)
        self.not_finite = 0  # losses that could not be counted

    def add(self, losses: Tensor) -> None:
        """Count ``(S,)`` losses of at least 0; what is not finite is counted apart."""
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
        """Return how many losses were counted."""
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        """Return the sum of all losses."""
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
