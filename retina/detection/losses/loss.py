"""What classification and box losses have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Loss(nn.Module):
    """A loss that is a sum over anchors, or says that it is none.

    One that normalises itself by something of the whole batch says ``additive = False`` and sums that over the ranks
    by :meth:`total`: once in every forward pass, also on a rank without objects, so that the ranks stay in step.
    """

    additive: bool = True  # whether the sum over parts of a batch is the sum of the batch
    # Set where `additive` is False and there are several ranks: takes a tensor, returns its sum over them.
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def total(self, local: Tensor) -> Tensor:
        """Return ``local`` summed over the ranks."""
        return local if self.sum_over_ranks is None else self.sum_over_ranks(local)

    def total_and_number(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of ``(P,)`` values and their number, each over the ranks."""
        total, number = self.total(torch.stack([values.sum(), values.new_full((), len(values))]))
        return total, number

    def extra_repr(self) -> str:
        settings = inspect.signature(type(self).__init__).parameters
        return ", ".join(f"{name}={vars(self)[name]}" for name in settings if name in vars(self))


def at_least_float32(values: Tensor) -> Tensor:
    """Return ``values`` in float32, float64 ones as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
