"""How hard each of the two losses pulls at the features that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def shared_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """Let ``model`` run with gradients from the outputs of its pyramid on; yields these, filled by a forward pass.

    The backbone and the pyramid run without a graph, so nothing is kept for them and their parameters never see a
    gradient; those of the subnets do not either, as long as gradients are asked for by ``torch.autograd.grad``.
    """
    found: list[Tensor] = []
    before = torch.is_grad_enabled()

    def without_graph(_module: nn.Module, _inputs: object) -> None:
        torch.set_grad_enabled(False)

    def from_here(_module: nn.Module, _inputs: object, levels: Sequence[Tensor]) -> list[Tensor]:
        torch.set_grad_enabled(True)
        found[:] = [level.detach().requires_grad_() for level in levels]
        return list(found)

    hooks = [
        model.get_submodule("backbone").register_forward_pre_hook(without_graph),
        model.get_submodule("fpn").register_forward_hook(from_here),
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        torch.set_grad_enabled(before)


def gradient_squares(loss: Tensor, features: Sequence[Tensor]) -> Tensor:
    """Return ``(L,)`` float64 sums of squares of the gradient of ``loss`` in each level; the graph is kept.

    Images have features of their own, so the sums of several batches add up to those of all their images.
    """
    if not loss.requires_grad:
        return torch.zeros(len(features), dtype=torch.float64)
    gradients = torch.autograd.grad(loss, list(features), retain_graph=True, allow_unused=True)
    sums = [torch.zeros(()) if each is None else each.float().square().sum(dtype=torch.float64) for each in gradients]
    return torch.stack([value.double().cpu() for value in sums])


def norm_shares(squares: Sequence[float]) -> list[float]:
    """Return the shares of the norms whose squares are given; of sum 1, or all 0 where all norms are."""
    norms = [max(value, 0.0) ** 0.5 for value in squares]
    total = sum(norms)
    return [norm / total if total else 0.0 for norm in norms]
