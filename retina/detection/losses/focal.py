"""Focal loss from sparse targets with its closed-form gradient, in chunks that stay in the cache.

For a class that is absent, with ``p = sigmoid(x)`` and ``c = softplus(x) = -log(1 - p)``, Lin et al. 2017, eq. 4 and 5,
say without alpha

    f(x)  = p^gamma c                               since 1 - p_t = p and -log(p_t) = c
    f'(x) = p^gamma (gamma (1 - p) c + p)           since p' = p (1 - p) and c' = p

which is the derivative of the paper's appendix B. A class that is present is the mirror image: ``f(-x)`` and
``-f'(-x)``. No term divides by ``p`` or takes its logarithm, so every logit has a finite slope, and the bracket is the
point ``p`` of the way from ``gamma c`` to 1: one ``lerp``.

Plain autograd writes and reads some ten ``(S, K)`` tensors; here each chunk goes through its few operations while it
is in the cache, once for the loss and once more for the gradient. Keeping the gradient from the forward pass would
save the second sigmoid and softplus, but it would be rounded to the type of the logits before it is multiplied by the
gradient of the loss, which for float16 is the loss scale that keeps it from vanishing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from retina.detection.losses.loss import at_least_float32
from retina.structures import AnchorTargets

# Few enough for the buffers of a chunk to stay in the cache of a core, many enough to outweigh the microseconds that
# calling each operation costs. Measured: half as many takes a fifth longer, twice as many gains nothing.
ELEMENTS_PER_THREAD = 65_536
# On a device every chunk costs launches, and there is no cache to stay in.
ELEMENTS_ON_DEVICE = 4_194_304
# From here on softplus(x) is x: exp(-40) is nothing beside 40 even in float64, and exp(40) is finite in float32.
SOFTPLUS_IS_LINEAR = 40.0


def focal_background(logits: Tensor, gamma: float) -> Tensor:
    """Return the elementwise focal loss ``-p^gamma log(1 - p)`` of classes that are absent, ``p = sigmoid(logits)``.

    The loss is symmetric: of a class that is present it is ``focal_background(-logits, gamma)``. So ``1 - p`` is
    never formed, which would lose every digit of a confident score. Without alpha; not reduced.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4.
    """
    cross_entropy = F.softplus(logits)
    if gamma == 0:
        return cross_entropy
    p = logits.sigmoid()
    if gamma < 1:
        # p^gamma has an infinite slope at p = 0, where its true contribution is 0: inf * 0 would be NaN.
        p = p.clamp(min=torch.finfo(p.dtype).tiny)
    return p.pow(gamma) * cross_entropy


def focal_sum(logits: Tensor, targets: AnchorTargets, alpha: float | Tensor, gamma: float) -> Tensor:
    """Return the scalar focal loss, summed over classes and anchors, of ``(S, K)`` logits; differentiable once.

    ``alpha`` weighs present classes, ``1 - alpha`` absent ones; ``(K,)`` has one for each class.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5.
    """
    indices = (targets.positive_index, targets.positive_labels, targets.ignored_index)
    return _FocalSum.apply(logits, *indices, alpha, gamma)


def plain_focal_sum(logits: Tensor, targets: AnchorTargets, alpha: float | Tensor, gamma: float) -> Tensor:
    """Return what :func:`focal_sum` returns, with the gradient of plain autograd.

    Every element is taken as background first; then the few positive elements and ignored anchors are replaced,
    never subtracted: a large number minus itself would leave rounding noise. No ``(S, K)`` one-hot is made.
    """
    logits = at_least_float32(logits)
    positive = (targets.positive_index, targets.positive_labels)

    elements = focal_background(logits, gamma)  # (S, K)
    elements[positive] = 0.0  # in place: nothing saved for backward is overwritten
    if isinstance(alpha, Tensor):
        elements = elements * (1.0 - alpha)
    # Rows are summed in float32, rows together in float64: 8 bytes an anchor, not an element.
    anchors = elements.sum(dim=1).index_fill(0, targets.ignored_index, 0.0)  # (S,)
    absent = anchors.sum(dtype=torch.float64)
    present = focal_background(-logits[positive], gamma)
    return _weighed(absent, present, alpha, targets.positive_labels)


def _weighed(absent: Tensor, present: Tensor, alpha: float | Tensor, labels: Tensor) -> Tensor:
    """Return both losses summed; with an alpha for each class the sum of absent ones is weighed already."""
    if isinstance(alpha, Tensor):
        return (absent + (alpha[labels] * present).sum(dtype=torch.float64)).to(present.dtype)
    return ((1.0 - alpha) * absent + alpha * present.sum(dtype=torch.float64)).to(present.dtype)


# By the setting loss.classification.implementation.
FOCAL_SUMS: dict[str, Callable[..., Tensor]] = {"fast": focal_sum, "plain": plain_focal_sum}


class _FocalSum(Function):
    """The sum and its gradient. Saves its inputs only, so going backward again is going backward."""

    @staticmethod
    def forward(
        logits: Tensor, anchors: Tensor, labels: Tensor, ignored: Tensor, alpha: float | Tensor, gamma: float
    ) -> Tensor:
        weights = 1.0 - alpha if isinstance(alpha, Tensor) else None  # of absent classes, where they differ
        rows = _row_sums(logits, gamma, weights)
        # Positive elements and ignored anchors are replaced, never subtracted, as in the plain path: in the rows of
        # positive anchors the own class gets the logit of a loss of 0.
        others = logits.index_select(0, anchors).scatter_(1, labels[:, None], -torch.inf)
        rows.index_copy_(0, anchors, _row_sums(others, gamma, weights))
        absent = rows.index_fill_(0, ignored, 0.0).sum(dtype=torch.float64)
        present = _row_sums(-logits[anchors, labels][:, None], gamma)
        return _weighed(absent, present, alpha, labels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, anchors, labels, ignored, ctx.alpha, ctx.gamma = inputs
        ctx.save_for_backward(logits, anchors, labels, ignored)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        logits, anchors, labels, ignored = ctx.saved_tensors
        with torch.no_grad():
            gradient = _gradient(logits, (1.0 - ctx.alpha) * grad_loss, ctx.gamma)
            mirrored = -logits[anchors, labels][:, None]
            if isinstance(ctx.alpha, Tensor):
                # In the type of the loss, so that the slopes are rounded once, after their weights.
                slopes = _gradient(mirrored.to(grad_loss.dtype), -grad_loss, ctx.gamma)[:, 0]
                gradient[anchors, labels] = (ctx.alpha[labels] * slopes).to(gradient.dtype)
            else:
                gradient[anchors, labels] = _gradient(mirrored, -ctx.alpha * grad_loss, ctx.gamma)[:, 0]
            gradient.index_fill_(0, ignored, 0.0)
        if torch.is_grad_enabled():
            gradient = _NoSecondDerivative.apply(gradient, logits, grad_loss)
        return gradient, None, None, None, None, None


class _NoSecondDerivative(Function):
    """A gradient as it is, which says so where somebody differentiates it."""

    @staticmethod
    def forward(gradient: Tensor, logits: Tensor, grad_loss: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: there is nothing to compute."""

    @staticmethod
    def backward(ctx: Any, grad_gradient: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "the fast focal loss has no second derivative; choose loss.classification.implementation=plain"
        )


def _row_sums(logits: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Return ``(S,)`` sums over the classes of ``(S, K)`` losses ``p^gamma softplus(x)``; -inf costs 0.

    In float32, float64 for float64 logits: 4 bytes an anchor. The caller sums the anchors in float64.

    Args:
        logits: ``(S, K)`` of any float type.
        gamma: exponent, at least 0.
        weights: of the K classes; None: all are 1.
    """
    sums = logits.new_empty(len(logits), dtype=torch.promote_types(logits.dtype, torch.float32))
    for rows, x, (p, loss, spare) in _chunks(logits, num_buffers=3):
        torch.sigmoid(x, out=p)
        _softplus(x, p, spare, out=loss)
        loss.mul_(p.pow_(gamma))  # torch multiplies or takes the root where gamma is 0.5, 1, 2 or 3
        if weights is not None:
            loss.mul_(weights)
        torch.sum(loss, dim=1, out=sums[rows])
    return sums


def _gradient(logits: Tensor, scale: Tensor, gamma: float) -> Tensor:
    """Return ``(S, K)`` slopes ``scale p^gamma (gamma (1 - p) softplus(x) + p)``; ``scale`` is a scalar or ``(K,)``.

    They are rounded to the type of the logits once, after the scale.
    """
    gradient = torch.empty_like(logits)
    for rows, x, (p, slope, spare, end) in _chunks(logits, num_buffers=4):
        if rows.start == 0:
            end.copy_(scale)  # and it stays there: all chunks have the same buffers
            start = (gamma * scale).to(x.dtype)
        torch.sigmoid(x, out=p)
        _softplus(x, p, spare, out=slope)
        torch.lerp(slope.mul_(start), end, p, out=slope)
        torch.mul(slope, p.pow_(gamma), out=gradient[rows])
    return gradient


def _softplus(x: Tensor, p: Tensor, spare: Tensor, *, out: Tensor) -> None:
    """Write ``log(1 + exp(x))`` into ``out`` to the last digits, given ``p = sigmoid(x)``; overwrites ``spare``.

    On the CPU it is ``-log(q)`` of ``q = sigmoid(-x)``. Near 1, q has lost most digits of p, so log(q) has too, but
    ``p + (q - 1)`` is exactly what was lost. Where q is small this term is noise of the last digit, and where q
    underflows softplus(x) is x. F.softplus is as exact, but rests on log1p, which takes 11 ns an element and thread
    until torch.pow has run in the process and 0.6 ns from then on, for no reason we found (torch 2.14.1, AVX512);
    log takes 1 ns in either case.
    """
    if not _on_cpu(x):
        F.softplus(x, 1.0, SOFTPLUS_IS_LINEAR, out=out)  # type: ignore[call-arg]  # missing in the stub of torch
        return
    torch.neg(x, out=spare)
    spare.sigmoid_().clamp_(min=torch.finfo(spare.dtype).tiny)
    torch.log(spare, out=out)
    spare.sub_(1.0).add_(p)
    torch.sub(spare, out, out=out)
    torch.maximum(out, x, out=out)


def _chunks(logits: Tensor, *, num_buffers: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield slices of rows, the logits there in at least float32, and as many buffers of their shape.

    Whole rows, so that logits of any memory order are read where they lie. The buffers are the same in every chunk.
    """
    elements = ELEMENTS_PER_THREAD * torch.get_num_threads() if _on_cpu(logits) else ELEMENTS_ON_DEVICE
    step = max(1, elements // max(1, logits.shape[1]))
    shape = (num_buffers, min(step, len(logits)), logits.shape[1])
    buffers = logits.new_empty(shape, dtype=torch.promote_types(logits.dtype, torch.float32))
    for first in range(0, len(logits), step):
        x = logits[first : first + step].to(buffers.dtype)
        yield slice(first, first + len(x)), x, buffers[:, : len(x)]


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"
