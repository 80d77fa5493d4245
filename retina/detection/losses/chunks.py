"""Sums over the rows of large tensors without keeping what is between them and the sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ELEMENTS = 262_144  # of the first tensor in one chunk


def sum_over_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return the sum of ``function(*chunks)`` over chunks of rows of ``(S, ...)`` tensors.

    Of what the function makes, only its result is kept: the rest is made again when going backward. Without rows it is
    called once with empty chunks.
    """
    rows = max(1, ELEMENTS // max(1, tensors[0].shape[1:].numel()))
    chunks = zip(*(tensor.split(rows) for tensor in tensors), strict=True)
    parts = [checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.stack(parts).sum(dim=0)
