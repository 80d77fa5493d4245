"""A weighted sum of box losses, of codes and of boxes alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from retina.detection.losses.box import BoxLoss, OverlapLoss, check_setting, comparable
from retina.detection.losses.box_pairs import BoxPairs


class BoxLossSum(nn.Module):
    """The sum of named box losses, each times its own weight; ``weight`` of the whole is applied by the criterion.

    Codes and decoded boxes are made once, outside, and the measures of the pairs once for all terms.
    """

    space: Literal["both"] = "both"

    def __init__(self, terms: Mapping[str, BoxLoss], *, weight: float = 1.0) -> None:
        """Args: ``terms`` by the names that their settings and buffers have: ``loss.box.terms.<name>.weight``."""
        super().__init__()
        check_setting("weight", weight)
        if not terms:
            raise ValueError("loss.box.terms must have at least one term")
        for name, term in terms.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise ValueError(f"loss.box.terms: {name!r} cannot be the name of a term, choose another word")
            if not isinstance(term, BoxLoss):
                raise ValueError(
                    f"loss.box.terms.{name} must be one box loss with a _target_ of its own, got {type(term).__name__}"
                )
        self.terms = nn.ModuleDict(terms)
        self.weight = weight

    @property
    def additive(self) -> bool:
        """Whether the sum over parts of a batch is the sum of the batch: where it is so for every term."""
        return all(term.additive for term in self._terms())

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

    def forward(
        self, predicted_deltas: Tensor, target_deltas: Tensor, predicted_boxes: Tensor, target_boxes: Tensor
    ) -> Tensor:
        """Return ``(P,)`` losses in float32 (float64 for float64 targets) of P boxes, given as codes and as boxes.

        Args:
            predicted_deltas: ``(P, 4)`` codes.
            target_deltas: ``(P, 4)`` codes.
            predicted_boxes: ``(P, 4)`` xyxy pixels, what ``predicted_deltas`` mean.
            target_boxes: ``(P, 4)`` xyxy pixels, what ``target_deltas`` mean.
        """
        codes = comparable(predicted_deltas, target_deltas)
        pairs = BoxPairs(*comparable(predicted_boxes, target_boxes))
        values = [term.weight * self._compare(term, codes, pairs) for term in self._terms()]
        return torch.stack(values).sum(dim=0)

    def _compare(self, term: BoxLoss, codes: tuple[Tensor, Tensor], pairs: BoxPairs) -> Tensor:
        if isinstance(term, OverlapLoss):
            return term.compare(pairs)
        return term.per_box(*(codes if term.space == "deltas" else (pairs.predicted, pairs.target)))

    def _terms(self) -> list[BoxLoss]:
        return list(self.terms.values())  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
