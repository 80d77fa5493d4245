"""Finding the few rows of a large table of logits that reach a threshold, at the speed of reading the table."""

from __future__ import annotations

import torch
from torch import Tensor

_INTEGERS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16}
_INTEGERS[torch.bfloat16] = torch.int16


def rows_that_may_exceed(logits: Tensor, threshold: float) -> Tensor:
    """Return the rows, ascending, that may hold a value above ``threshold``; rows left out hold none.

    A few rows with values just below are among them, and those with a NaN.

    The maximum of floats is slow to compute: it minds NaN, and half precision is converted first. Integers have no
    such worries, so the bits are compared: read as signed integers, floats from 0 on are in their own order, and
    negative ones lie below them in the reverse order.

    Args:
        logits: ``(S, K)`` of any float type.
        threshold: infinities are allowed.
    """
    bits = logits.view(_INTEGERS[logits.dtype])
    # A little lower, so that rounding to the type of the logits cannot raise it.
    lowered = torch.tensor(threshold - abs(threshold) * 2**-6 if abs(threshold) < float("inf") else threshold)
    limit = int(lowered.to(logits.dtype).view(_INTEGERS[logits.dtype]))
    largest = bits.amax(dim=1)
    # Negative values above a negative threshold are nearer to 0, so their bits are smaller.
    above = largest > limit if threshold >= 0 else (largest >= 0) | (bits.amin(dim=1) < limit)
    return above.nonzero().squeeze(1)
