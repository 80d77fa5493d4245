"""Loss and slope of one anchor's score, by calling the classification losses themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retina.detection.losses.classification import ClassificationLoss
from retina.structures import AnchorTargets, BackgroundHeat

# Evenly spaced logits: scores from 0.0003 to 0.9997, dense where a loss is steep in the score. An even number: none is
# 0, where a loss whose target is 1/2 vanishes and a logarithmic axis would show a gap.
LOGITS = torch.linspace(-8.0, 8.0, 160, dtype=torch.float64)
# Close to 1, so that a running density stays what it was set to when one more score is counted.
_ALMOST_ALWAYS = 1.0 - 1e-12


@dataclass(frozen=True)
class Curve:
    """Values of a loss along ``x``, ascending, and the size of its gradient there."""

    name: str
    x: list[float]
    loss: list[float]
    gradient: list[float]


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
    slope in the class logit. A batch each, so that a loss which normalises itself is that of a single score.

    Args:
        loss: becomes one of float64 in evaluation mode, where it leaves its running statistics as they are.
        name: of the curve.
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
    # What normalises itself looks at the whole batch, so each score is one; of the others one pass gives every slope.
    for some in ascending.split(len(ascending) if loss.additive else 1):
        leaf = some.clone().requires_grad_()
        slopes += torch.autograd.grad(total(leaf), leaf)[0].abs().tolist()
    return Curve(name, (ascending if positive else -ascending).sigmoid().tolist(), losses, slopes)


def set_density(loss: torch.nn.Module, shares: list[float], *, per_batch: int) -> None:
    """Give a loss that counts gradient norms in ``bin_counts`` a fixed density.

    Args:
        loss: changed in place; what it counts from now on does not move the density.
        shares: of each bin, above 0, of sum 1.
        per_batch: scores or codes that the loss will be given at once. Where all bins are equally full, every weight is
            1 then.
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
