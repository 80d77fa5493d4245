"""The exponential moving average of a model's weights: what is evaluated and shipped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Ema:
    """A copy of ``model`` in evaluation mode whose weights follow those of the trained one.

    Source: Polyak & Juditsky 1992; the ramp ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, which forgets the
    random start quickly, is TensorFlow's ``ExponentialMovingAverage(num_updates=n)``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Args: ``model``, also wrapped for several processes; ``decay`` in [0, 1), 0 meaning the newest weights."""
        if not 0 <= decay < 1:
            raise ValueError(f"train.ema_decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.num_updates = 0
        self.model = copy.deepcopy(_unwrap(model)).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``, after a step that changed them.

        Floating-point buffers are averaged as well, others copied. Frozen parameters are taken to be those that the
        average was made with.
        """
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        averages: list[Tensor] = []
        newest: list[Tensor] = []
        for average, current in self._pairs(_unwrap(model)):
            if current.is_floating_point():
                averages.append(average)
                newest.append(current)
            else:
                average.copy_(current)  # a count, such as that of BatchNorm
        if averages:
            torch._foreach_lerp_(averages, newest, 1.0 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates; the decay is a setting and may change on resuming."""
        return {"model": self.model.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.num_updates = state["num_updates"]

    def _pairs(self, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each averaged tensor with the one that it follows."""
        for average, current in zip(self.model.parameters(), model.parameters(), strict=True):
            if current.requires_grad:
                yield average, current
        yield from zip(self.model.buffers(), model.buffers(), strict=True)


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model
