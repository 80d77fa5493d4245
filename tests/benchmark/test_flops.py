"""Counting arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from retina.benchmark.measure import Timing
from retina.benchmark.speed import convolution_peak, count_flops
from retina.machine import Machine

CPU = torch.device("cpu")


def test_operations_of_a_convolution_by_hand() -> None:
    # 5 x 7 pixels, 4 channels out, each a sum of 4 channels x 9 cells: 2 * 36 * 4 * 35.
    layer, features = nn.Conv2d(4, 4, 3, padding=1, bias=False), torch.randn(1, 4, 5, 7)
    assert count_flops(lambda: layer(features)) == 10080


def test_operations_are_counted_backward_and_in_inference_too() -> None:
    layer, features = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 5, 7, requires_grad=True)
    assert count_flops(lambda: layer(features).sum().backward()) == 3 * 10080  # also for weights and for pixels
    features = features.detach()
    with torch.inference_mode():
        assert count_flops(lambda: layer(features)) == 10080


def test_a_lazy_box_tower_is_counted_as_less_arithmetic(small) -> None:
    step = small.train_step()
    small.model.box_tower = "dense"
    dense = count_flops(step)
    assert dense > 1e9
    small.model.box_tower = "lazy"
    assert count_flops(step) <= dense


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_peak_is_that_of_the_best_call(monkeypatch, precision) -> None:
    timing = Timing((9.0, 3.0, 2.0, 4.0))
    monkeypatch.setattr("retina.benchmark.speed.alternate", lambda some, **_: dict.fromkeys(some, timing))
    assert convolution_peak(Machine(CPU, precision), repeats=3) == 2 * 9 * 256**2 * 2 * 100 * 136 / 2.0
