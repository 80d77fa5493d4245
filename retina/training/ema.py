"""The exponential moving average of a model's weights: what is evaluated and shipped."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from retina.ranges import ShareBelow1, checked


@checked
class Ema:
    """A copy of ``model`` in evaluation mode whose weights follow those of the trained one.

    Source: Polyak & Juditsky 1992; the ramp ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, which forgets the
    random start quickly, is TensorFlow's ``ExponentialMovingAverage(num_updates=n)``.
    """

    def __init__(self, model: nn.Module, decay: ShareBelow1) -> None:
        """Args: ``decay``: 0 means the newest weights."""
        self.decay = decay
        self.num_updates = 0
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``, after a step that changed them.

        Floating-point buffers are averaged as well, others copied. Frozen parameters are taken to be those that the
        average was made with.
        """
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        averages: list[Tensor] = []
        newest: list[Tensor] = []
        trained = [(average, current) for average, current in pairs if current.requires_grad]
        for average, current in (*trained, *zip(self.model.buffers(), model.buffers(), strict=True)):
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
        """Resume from what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.num_updates = state["num_updates"]
