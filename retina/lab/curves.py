"""What a loss does to one score or to one box, by calling the loss itself: plain values, as in the file of numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import ClassificationLoss
from retina.structures import AnchorTargets, BackgroundHeat

Curve = dict[str, Any]  # name; x, ascending; loss and gradient (its size) there; of boxes also iou

# Evenly spaced logits: scores from 0.0003 to 0.9997, dense where a loss is steep in the score. An even number: none is
# 0, where a loss whose target is 1/2 vanishes and a logarithmic axis would show a gap.
LOGITS = torch.linspace(-8.0, 8.0, 160, dtype=torch.float64)
# Close to 1, so that a running density stays what it was set to when one more score is counted.
_ALMOST_ALWAYS = 1.0 - 1e-12

SIDE = 100.0  # pixels of the true box, which is also the anchor: codes are displacements in box sides
# An even number of points: none lies at the true box itself, where several losses have a corner.
NUM_POINTS = 160
MAX_SHIFT = 2.0  # box sides
MAX_SCALE = 4.0


def score_curve(
    loss: ClassificationLoss,
    name: str,
    *,
    positive: bool,
    iou: float = 1.0,
    heat: float = 0.0,
    logits: Tensor = LOGITS,
) -> Curve:
    """Return ``loss`` of a batch of one anchor against ``p_t``, the probability given to what is true.

    The anchor has one class, with a softmax also the background, whose logit is 0. The gradient is the size of the
    slope in the class logit. A batch each, so that a loss which normalises itself is that of a single score. ``loss``
    becomes one of float64 in evaluation mode, where it leaves its running statistics as they are.

    Args:
        positive: whether the anchor holds an object.
        iou: overlap of its predicted box with the object, for losses that ask for it.
        heat: how near background lies to the centre of an object, for losses that ask for it.
        logits: ``(N,)`` float64, ascending.
    """
    loss = loss.double().eval()
    ascending = logits if positive else logits.flip(0)  # in p_t

    def total(values: Tensor) -> Tensor:
        targets = _anchors(len(values), positive, heat if loss.needs_heat else 0.0)
        overlaps = (torch.full((targets.num_positives,), iou, dtype=values.dtype),) if loss.needs_iou else ()
        columns = [values, torch.zeros_like(values)] if loss.scores == "softmax" else [values]
        return loss(torch.stack(columns, dim=1), targets, *overlaps)

    with torch.no_grad():
        losses = [float(total(value[None])) for value in ascending]
    slopes = []
    for some in _together(loss, ascending):
        leaf = some.clone().requires_grad_()
        slopes += torch.autograd.grad(total(leaf), leaf)[0].abs().tolist()
    p_t = (ascending if positive else -ascending).sigmoid().tolist()
    return {"name": name, "x": p_t, "loss": losses, "gradient": slopes}


def box_curves(loss: BoxLoss, name: str) -> dict[str, Curve]:
    """Return ``loss`` with its weight along each way from the true box; the gradient is that in the four box codes."""
    curves = {}
    for way, (x, codes) in ways().items():
        values, gradients = losses_and_gradients(loss, codes)
        iou = pairs_at(codes).iou.clamp(max=1.0)
        parts = {"x": x, "iou": iou, "loss": values, "gradient": gradients.norm(dim=1)}
        curves[way] = {"name": name, **{key: part.tolist() for key, part in parts.items()}}
    return curves


def ways() -> dict[str, tuple[Tensor, Tensor]]:
    """Return ``(P,)`` positions, shifts in box sides or factors of both sides, and ``(P, 4)`` codes of boxes there."""
    shift = torch.linspace(-MAX_SHIFT, MAX_SHIFT, NUM_POINTS, dtype=torch.float64)
    growth = torch.linspace(-math.log(MAX_SCALE), math.log(MAX_SCALE), NUM_POINTS, dtype=torch.float64)
    none = torch.zeros_like(shift)
    return {
        "shift": (shift, torch.stack([shift, none, none, none], dim=1)),
        "scale": (growth.exp(), torch.stack([none, none, growth, growth], dim=1)),
    }


def losses_and_gradients(loss: BoxLoss, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(P,)`` losses times their weight, and their ``(P, 4)`` gradients in the predicted ``codes``.

    ``loss`` becomes one of float64 in evaluation mode, where it leaves its running statistics as they are.
    """
    loss = loss.double().eval()
    losses, gradients = [], []
    for some in _together(loss, codes):
        pairs = pairs_at(some.clone().requires_grad_())
        values = loss.weight * loss(pairs)
        losses.append(values.detach())
        gradients.append(torch.autograd.grad(values.sum(), pairs.deltas)[0])
    return torch.cat(losses), torch.cat(gradients)


def pairs_at(codes: Tensor) -> BoxPairs:
    """Return the pairs of boxes with these ``(P, 4)`` codes and one true box, which is also the anchor."""
    boxes = torch.tensor([[0.0, 0.0, SIDE, SIDE]], dtype=torch.float64).repeat(len(codes), 1)
    return BoxPairs(codes, boxes, boxes)


def set_density(loss: torch.nn.Module, shares: list[float], *, per_batch: int) -> None:
    """Give a loss that counts gradient norms in ``bin_counts`` a density that stays: shares of its bins, of sum 1.

    ``per_batch`` scores or codes will be given to it at once: where all bins are equally full, every weight is 1 then.
    """
    counts: Tensor = loss.bin_counts  # type: ignore[assignment]
    if len(shares) != len(counts) or not math.isclose(sum(shares), 1.0, rel_tol=1e-6) or min(shares) <= 0:
        raise ValueError(f"shares must be {len(counts)} numbers above 0 of sum 1, got {shares}")
    counts.copy_(torch.tensor(shares, dtype=torch.float64) * per_batch)
    loss.momentum = _ALMOST_ALWAYS  # type: ignore[assignment]


def even_density(bins: int) -> list[float]:
    """Return the same share for each of ``bins``."""
    return [1.0 / bins] * bins


def easy_density(bins: int, *, easy: float = 0.9, hard: float = 0.01) -> list[float]:
    """Return shares as of a trained detector: ``easy`` in the first bin, ``hard`` in the last, the rest even.

    Source: Li et al. 2019, Gradient Harmonized Single-stage Detector, figure 2, in shape.
    """
    if bins < 3:
        return even_density(bins)
    return [easy, *[(1.0 - easy - hard) / (bins - 2)] * (bins - 2), hard]


def _together(loss: Any, values: Tensor) -> tuple[Tensor, ...]:
    """Return all ``values`` as one batch, or one by one for a loss that normalises itself over its batch."""
    return values.split(len(values) if loss.additive else 1)


def _anchors(count: int, positive: bool, heat: float) -> AnchorTargets:
    """Return targets of ``count`` anchors that all hold an object of the one class, or are all background."""
    everywhere = torch.arange(count)
    index = everywhere[: count * positive]
    near = everywhere[: count * (heat > 0 and not positive)]
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).repeat(len(index), 1)
    return AnchorTargets(
        positive_index=index,
        positive_labels=torch.zeros_like(index),
        positive_boxes=boxes,
        positive_anchors=boxes,
        ignored_index=everywhere[:0],
        heat=BackgroundHeat(near, torch.zeros_like(near), torch.full((len(near),), heat, dtype=torch.float64)),
    )
