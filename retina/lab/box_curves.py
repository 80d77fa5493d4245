"""Box losses along a way from the true box: shifted to the side, or grown and shrunk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import BoxPairs

SIDE = 100.0  # pixels of the true box, which is also the anchor: codes are displacements in box sides
# An even number of points: none lies at the true box itself, where several losses have a corner.
NUM_POINTS = 160
MAX_SHIFT = 2.0  # box sides
MAX_SCALE = 4.0

WAYS = ("shift", "scale")


@dataclass(frozen=True)
class BoxCurve:
    """A box loss along one way, times its weight beside the classification loss."""

    name: str
    x: list[float]  # shift in box sides, or the factor of both sides
    iou: list[float]
    loss: list[float]
    gradient: list[float]  # Euclidean norm of the gradient in the four box codes


def codes_along(way: str) -> tuple[Tensor, Tensor]:
    """Return ``(P,)`` positions on ``way`` and the ``(P, 4)`` float64 codes of the boxes there."""
    codes = torch.zeros(NUM_POINTS, 4, dtype=torch.float64)
    if way == "shift":
        x = torch.linspace(-MAX_SHIFT, MAX_SHIFT, NUM_POINTS, dtype=torch.float64)
        codes[:, 0] = x
        return x, codes
    if way == "scale":
        log_scale = torch.linspace(-math.log(MAX_SCALE), math.log(MAX_SCALE), NUM_POINTS, dtype=torch.float64)
        codes[:, 2:] = log_scale[:, None]
        return log_scale.exp(), codes
    raise ValueError(f"way must be one of {WAYS}, got {way!r}")


def box_curves(loss: BoxLoss, name: str) -> Mapping[str, BoxCurve]:
    """Return the curve of ``loss`` along each of ``WAYS``, every box a batch of its own."""
    curves = {}
    for way in WAYS:
        x, codes = codes_along(way)
        values, gradients = losses_and_gradients(loss, codes)
        iou = pairs_at(codes).iou.clamp(max=1.0)
        norms = gradients.norm(dim=1)
        curves[way] = BoxCurve(name, *(part.tolist() for part in (x, iou, values, norms)))
    return curves


def losses_and_gradients(loss: BoxLoss, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(P,)`` losses times their weight, and their ``(P, 4)`` gradients in the predicted ``codes``.

    ``loss`` becomes one of float64 in evaluation mode, where it leaves its running statistics as they are.
    """
    loss = loss.double().eval()
    parts = []
    # What normalises itself looks at the whole batch, so each box is one; the others are computed together.
    for some in codes.split(len(codes) if loss.additive else 1):
        pairs = pairs_at(some.clone().requires_grad_())
        values = loss.weight * loss(pairs)
        parts.append((values.detach(), torch.autograd.grad(values.sum(), pairs.deltas)[0]))
    losses, gradients = map(torch.cat, zip(*parts, strict=True))
    return losses, gradients


def pairs_at(codes: Tensor) -> BoxPairs:
    """Return the pairs of boxes with these ``(P, 4)`` codes and one true box, which is also the anchor."""
    boxes = torch.tensor([[0.0, 0.0, SIDE, SIDE]], dtype=torch.float64).repeat(len(codes), 1)
    return BoxPairs(codes, boxes, boxes)
