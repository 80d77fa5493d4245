"""Box losses put together and weighed: sums of several, and boxes by the scores of their anchors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.loss import Loss
from retina.ranges import AtLeast0, checked

# Weights of a smaller sum say nothing: every class is certain.
_NEGLIGIBLE = 1e-7


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
        return torch.stack([term.weight * term(pairs) for term in self._terms()]).sum(dim=0)

    @property
    def sum_over_ranks(self) -> Callable[[Tensor], Tensor] | None:
        """What sums a tensor over the ranks for the terms that normalise themselves."""
        return next((term.sum_over_ranks for term in self._terms() if not term.additive), None)

    @sum_over_ranks.setter
    def sum_over_ranks(self, function: Callable[[Tensor], Tensor] | None) -> None:
        """Hand ``function`` to the terms that normalise themselves."""
        for term in self._terms():
            if not term.additive:
                term.sum_over_ranks = function

    def _terms(self) -> list[BoxLoss]:
        return list(self.terms.values())  # type: ignore[arg-type]


@checked
class FocalWeights(Loss):
    """The focal factor ``(1 - p)^gamma`` of positive anchors' own classes, over its mean, without a gradient.

    So a sum of weighted losses over P boxes is P times their weighted mean: "focal L1" with the L1 loss. The weights
    depend on which boxes share a batch, so the loss is not additive.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4, for the factor.
    """

    additive = False

    def __init__(self, gamma: AtLeast0) -> None:
        """Args: ``gamma``: 0 gives weights of 1."""
        super().__init__()
        self.gamma = gamma

    def forward(self, miss: Tensor) -> Tensor:
        """Return ``(P,)`` weights for the probabilities ``1 - p`` in ``miss``."""
        weights = miss.detach().pow(self.gamma)
        totals = self.total(torch.stack([weights.sum(), weights.new_full((), len(weights))]))
        return weights * (totals[1] / totals[0].clamp(min=_NEGLIGIBLE))
