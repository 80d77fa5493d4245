"""Weights that let the boxes of badly classified anchors count more."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retina.errors import ConfigError

# Weights of a smaller sum say nothing: every class is certain.
_NEGLIGIBLE = 1e-7


class FocalWeights(nn.Module):
    """The focal factor ``(1 - p)^gamma`` of positive anchors' own classes, over its mean, without a gradient.

    So a sum of weighted losses over P boxes is P times their weighted mean: "focal L1" with the L1 loss. The weights
    depend on which boxes share a batch, so the loss is not additive. ``sum_over_ranks`` is as of
    :class:`~retina.detection.losses.classification.ClassificationLoss`.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4, for the factor.
    """

    additive = False

    def __init__(self, gamma: float) -> None:
        """Args: ``gamma``: 0 gives weights of 1."""
        super().__init__()
        if not (gamma >= 0.0 and math.isfinite(gamma)):
            raise ConfigError(f"loss.box.focal_gamma must be at least 0 and finite, got {gamma}")
        self.gamma = gamma
        self.sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def forward(self, miss: Tensor) -> Tensor:
        """Return ``(P,)`` weights for the probabilities ``1 - p`` in ``miss``."""
        weights = miss.detach().pow(self.gamma)
        totals = torch.stack([weights.sum(), weights.new_full((), len(weights))])
        if self.sum_over_ranks is not None:
            totals = self.sum_over_ranks(totals)
        return weights * (totals[1] / totals[0].clamp(min=_NEGLIGIBLE))

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"
