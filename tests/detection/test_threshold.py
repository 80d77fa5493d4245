from __future__ import annotations

import math

import pytest
import torch

from retina.detection.threshold import rows_that_may_exceed

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("threshold", [-math.inf, -9.2, -2.944, -1e-3, 0.0, 1e-3, 0.7, 5.0, math.inf])
def test_every_row_with_a_value_above_is_found_and_hardly_any_other(dtype, threshold):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(4000, 3, generator=generator) * 3 - 4).to(dtype)
    found = rows_that_may_exceed(logits, threshold)
    wanted = (logits.double() > threshold).any(dim=1).nonzero().squeeze(1)
    assert torch.isin(wanted, found).all()
    lower = threshold - 0.1 - 0.03 * abs(threshold) if math.isfinite(threshold) else threshold
    allowed = (logits.double() >= lower).any(dim=1).nonzero().squeeze(1)
    assert torch.isin(found, allowed).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("row", "threshold", "expected"),
    [
        ([-0.0, -8.0], -1.0, True),
        ([0.0, -8.0], -1.0, True),
        ([-0.0, 0.0], 0.0, False),
        ([-math.inf, -math.inf], -3.0, False),
        ([-math.inf, math.inf], 3.0, True),
        ([-math.inf, math.inf], -3.0, True),
        ([-4.0, -6e4], -3.0, False),
        ([-2.0, -6e4], -3.0, True),
        ([1.0, 2.0], 3.0, False),
        ([math.nan, 4.0], 3.0, True),
    ],
)
def test_zeros_infinities_and_nan(dtype, row, threshold, expected):
    found = rows_that_may_exceed(torch.tensor([row], dtype=dtype), threshold)
    assert found.tolist() == ([0] if expected else [])
