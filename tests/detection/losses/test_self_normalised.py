"""Sums over chunks: the value and gradient of the whole, without keeping what is in between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retina.detection.losses import self_normalised
from retina.detection.losses.self_normalised import sum_over_chunks


def weighted_squares(x: Tensor, weight: Tensor) -> Tensor:
    return (x.exp().square() * weight).sum(dim=0)


@pytest.mark.parametrize("elements", [1, 7, 12, 1000])
def test_chunks_leave_value_and_gradient_as_they_are(elements, monkeypatch):
    monkeypatch.setattr(self_normalised, "ELEMENTS", elements)
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    weight = torch.arange(10.0, dtype=torch.float64)[:, None]
    value = sum_over_chunks(weighted_squares, x, weight)
    expected = weighted_squares(x, weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0], rtol=1e-12, atol=0
    )


def test_without_rows_the_function_sees_an_empty_chunk():
    assert torch.equal(sum_over_chunks(weighted_squares, torch.zeros(0, 3), torch.zeros(0, 1)), torch.zeros(3))


def test_nothing_but_the_inputs_is_kept_for_going_backward(monkeypatch):
    monkeypatch.setattr(self_normalised, "ELEMENTS", 30)
    inputs = torch.randn(100, 3, requires_grad=True), torch.ones(100, 1)
    kept: set[int] = set()

    def keep(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sum_over_chunks(weighted_squares, *inputs)
    assert kept <= {tensor.untyped_storage().data_ptr() for tensor in inputs}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_value_is_the_same(mode):
    x = torch.randn(20, 3)
    with mode():
        value = sum_over_chunks(weighted_squares, x, torch.ones(20, 1))
    torch.testing.assert_close(value, weighted_squares(x, torch.ones(20, 1)))
