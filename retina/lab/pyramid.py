"""The pyramid that both subnets share: gradients in its levels, and a batch seen level by level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from retina.structures import AnchorTargets, BackgroundHeat, Predictions

Size = tuple[int, int]  # rows and columns


@contextmanager
def shared_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """Let ``model`` run with gradients from the outputs of its pyramid on; yields these, filled by a forward pass.

    The backbone and the pyramid run without a graph, so nothing is kept for them and their parameters never see a
    gradient; those of the subnets do not either, as long as gradients are asked for by ``torch.autograd.grad``.
    """
    found: list[Tensor] = []

    def without_graph(_module: nn.Module, _inputs: object) -> None:
        torch.set_grad_enabled(False)

    def from_here(_module: nn.Module, _inputs: object, levels: Sequence[Tensor]) -> list[Tensor]:
        torch.set_grad_enabled(True)
        found[:] = [level.detach().requires_grad_() for level in levels]
        return list(found)

    with ExitStack() as hooks:
        hooks.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        hooks.enter_context(model.get_submodule("backbone").register_forward_pre_hook(without_graph))
        hooks.enter_context(model.get_submodule("fpn").register_forward_hook(from_here))
        yield found


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


def level_names(strides: Sequence[int]) -> list[str]:
    """Return ``P3`` for stride 8, ``P4`` for 16, ...; for a stride that is no power of 2, ``/stride``."""
    return [f"P{int(math.log2(s))}" if math.log2(s).is_integer() else f"/{s}" for s in strides]


def level_bounds(grid_sizes: Sequence[Size], num_anchors: int) -> list[tuple[int, int]]:
    """Return the first anchor of each level and the one after its last, of ``num_anchors`` of an image."""
    cells = [rows * columns for rows, columns in grid_sizes]
    return list(pairwise(accumulate((count * num_anchors // sum(cells) for count in cells), initial=0)))


def level_of(anchor_index: Tensor, grid_sizes: Sequence[Size], num_anchors: int) -> Tensor:
    """Return ``(P,)`` int64 positions of the levels of anchors that are counted through a batch."""
    ends = torch.tensor([end for _, end in level_bounds(grid_sizes, num_anchors)], device=anchor_index.device)
    return torch.searchsorted(ends, anchor_index % num_anchors, right=True)


def one_level(predictions: Predictions, targets: AnchorTargets, level: int) -> tuple[Predictions, AnchorTargets]:
    """Return predictions and targets as if the network had this level only, anchors counted anew."""
    num_anchors = predictions.logits.shape[1]
    first, end = level_bounds(predictions.grid_sizes, num_anchors)[level]

    def inside(index: Tensor) -> tuple[Tensor, Tensor]:
        place = index % num_anchors
        kept = (place >= first) & (place < end)
        return kept, (index // num_anchors * (end - first) + place - first)[kept]

    heat = targets.heat
    if heat is not None:
        near, index = inside(heat.anchor_index)
        heat = BackgroundHeat(index, heat.labels[near], heat.heat[near])
    kept, positive_index = inside(targets.positive_index)
    ours = AnchorTargets(
        positive_index=positive_index,
        positive_labels=targets.positive_labels[kept],
        positive_boxes=targets.positive_boxes[kept],
        positive_anchors=targets.positive_anchors[kept],
        ignored_index=inside(targets.ignored_index)[1],
        heat=heat,
    )
    deltas = predictions.deltas_of(targets.positive_index[kept])
    sizes = [predictions.grid_sizes[level]]
    return Predictions(predictions.logits[:, first:end], deltas, sizes, positive_index), ours
