"""Box losses put together and weighed: sums of several, and boxes by the scores of their anchors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import NEGLIGIBLE, BoxPairs
from retina.detection.losses.loss import Loss
from retina.ranges import AtLeast0, checked


@checked
class BoxLossSum(BoxLoss):
    """The sum of named box losses, each times its own weight; ``weight`` of the whole is applied by the criterion."""

    def __init__(self, terms: Mapping[str, BoxLoss], *, weight: AtLeast0 = 1.0) -> None:
        """Args: ``terms`` by the names that their settings and buffers have: ``loss.box.terms.<name>.weight``."""
        super().__init__(weight=weight)
        if not terms:
            raise ValueError("loss.box.terms must have at least one term")
        for name, term in terms.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise ValueError(f"loss.box.terms: {name!r} cannot be the name of a term, choose another word")
            if not isinstance(term, BoxLoss) or isinstance(term, BoxLossSum):
                raise ValueError(
                    f"loss.box.terms.{name} must be one box loss with a _target_ of its own, got {type(term).__name__}"
                )
        self.terms = nn.ModuleDict(terms)
        self.additive = all(term.additive for term in terms.values())

    def per_box(self, pairs: BoxPairs) -> Tensor:
        return torch.stack([term.weight * term(pairs) for term in self.terms.values()]).sum(dim=0)


@checked
class FocalWeights(Loss):
    """The focal factor ``(1 - p)^gamma`` of positive anchors' own classes, over its mean, without a gradient.

    So a sum of weighted losses over P boxes is P times their weighted mean: "focal L1" with the L1 loss. The weights
    depend on which boxes share a batch, so the loss is not additive.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4, for the factor.
    """

    additive = False

    def __init__(self, gamma: AtLeast0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, miss: Tensor) -> Tensor:
        """Return ``(P,)`` weights for the probabilities ``1 - p`` in ``miss``."""
        weights = miss.detach().pow(self.gamma)
        total, number = self.total_and_number(weights)
        # Weights of a smaller sum say nothing: every class is certain.
        return weights * (number / total.clamp(min=NEGLIGIBLE))
