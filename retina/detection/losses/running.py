"""Box losses that weigh a box by statistics of the run: they depend on what shares a batch and on what came before.

The statistics are buffers, so they stand in checkpoints. They are taken over all ranks, change with every forward pass
in training (with every micro-batch where gradients are accumulated) and never in evaluation.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import NEGLIGIBLE, BoxPairs
from retina.detection.losses.overlap import WIoULoss
from retina.ranges import Above0, AtLeast, AtLeast0, AtLeast1, ShareBelow1, checked


@checked
class WIoUv3Loss(WIoULoss):
    """Wise-IoU v3: the v1 loss times a gain that is largest for boxes of ordinary quality. The gain has no gradient.

    With the outlier degree ``d = (1 - IoU) / mean(1 - IoU)`` the gain is ``d / (delta alpha^(d - delta))``: 1 at
    ``d = delta``, largest at ``1 / ln(alpha)``, near 0 for very good and for very poor boxes.

    The mean is a running one. It starts at 1, as in the paper, so that poor boxes are not left behind at first.
    ``half_life`` is the number of forward passes after which what was seen counts half.

    Source: Tong et al. 2023, Wise-IoU, L_WIoUv3; alpha 1.9, delta 3 and the start at 1 are those of the authors' code.
    So is the momentum ``1 - 0.05^(1 / (n t))``, which for its n = 890 batches and t = 34 epochs is a half-life of 7000.
    """

    additive = False
    mean_loss: Tensor

    def __init__(
        self,
        alpha: Annotated[float, AtLeast(1)] = 1.9,
        delta: Above0 = 3.0,
        *,
        half_life: Above0 = 7000.0,
        weight: AtLeast0 = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        self.alpha, self.delta, self.half_life = alpha, delta, half_life
        self.register_buffer("mean_loss", torch.ones(()))

    def per_box(self, pairs: BoxPairs) -> Tensor:
        losses = 1.0 - pairs.iou.detach()
        degree = losses / self._mean(losses).clamp(min=NEGLIGIBLE)
        gain = degree / self.delta * torch.pow(self.alpha, self.delta - degree)
        return gain * super().per_box(pairs)

    def _mean(self, losses: Tensor) -> Tensor:
        """Return the scalar running mean, with ``losses`` in it already in training."""
        before = self.mean_loss.to(losses.dtype)
        if not self.training:
            return before
        total, number = self.total_and_number(losses)
        mean = total / number.clamp(min=1.0)
        # A step that is not finite is not taken; its mean must not stay either.
        usable = (number > 0) & mean.isfinite()
        after = torch.where(usable, torch.lerp(mean, before, 0.5 ** (1.0 / self.half_life)), before)
        self.mean_loss.copy_(after)
        return after


@checked
class GHMRLoss(BoxLoss):
    """Gradient-harmonised loss of codes: ``sqrt(x^2 + mu^2) - mu``, divided by how common its gradient norm is.

    The norm ``|x| / sqrt(x^2 + mu^2)`` of each code falls into one of M ``bins``; of N codes it gets the weight
    ``N / (M S)``, S the running number of codes in its bin: were all bins equally full, all weights would be 1. The
    weights have no gradient. ``momentum`` is the share that S keeps of what was before; the first batch counts fully,
    and with 0 every batch does. (The authors' code divides by the bins that are not empty instead of M, starts S at 0
    and lets it stand where a bin is empty: another loss than the paper's.)

    Source: Li et al. 2019, Gradient Harmonized Single-stage Detector, GHM-R with ASL1 and the unit regions with
    exponential moving average; mu 0.02, 10 bins and momentum 0.7 are those of the authors' configuration.
    """

    additive = False
    bin_counts: Tensor

    def __init__(
        self, mu: Above0 = 0.02, *, bins: AtLeast1 = 10, momentum: ShareBelow1 = 0.7, weight: AtLeast0 = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.mu, self.bins, self.momentum = mu, bins, momentum
        self.register_buffer("bin_counts", torch.zeros(bins))

    def per_box(self, pairs: BoxPairs) -> Tensor:
        error = pairs.code_errors
        length = torch.hypot(error, torch.full_like(error, self.mu))
        norm = (error / length).detach().abs()
        # x^2 / (sqrt(x^2 + mu^2) + mu) is the same without the difference of nearly equal numbers.
        return (self._weights(norm) * error * (error / (length + self.mu))).sum(dim=1)

    def _weights(self, norm: Tensor) -> Tensor:
        """Return ``(P, 4)`` weights of codes with these gradient norms, 0 to 1."""
        # What is not a number has no bin, and an index of it would reach outside of the table.
        index = (norm.nan_to_num(nan=1.0) * self.bins).long().clamp(max=self.bins - 1)
        found = self.total(norm.new_zeros(self.bins).index_add(0, index.flatten(), torch.ones_like(norm).flatten()))
        number = found.sum()
        before = self.bin_counts.to(norm.dtype)
        average = torch.where(before.sum() > 0, torch.lerp(found, before, self.momentum), found)
        if self.training:
            self.bin_counts.copy_(torch.where(number > 0, average, before))
        return (number / (self.bins * average))[index]  # only bins that are not empty are read
