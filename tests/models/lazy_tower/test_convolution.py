from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from retina.models.lazy_tower.convolution import convolve_cells
from retina.models.lazy_tower.plan import plan_tower

GRID = (7, 9)
CELLS = [3, 4, 5, 17, 40, 62]  # a corner and a border among them


def layer():
    """The tables of one convolution at CELLS, and the rows that they read."""
    plan = plan_tower(torch.tensor(CELLS), [GRID], batch_size=1, anchors_per_cell=1, num_layers=1, break_even=0.0)
    return plan.layers[0], plan.sources[0], plan.num_padding_rows


def rows_of(features: torch.Tensor, sources: torch.Tensor, num_padding_rows: int) -> torch.Tensor:
    flat = features[0].permute(1, 2, 0).reshape(-1, features.shape[1])
    nothing = flat.new_zeros(1, flat.shape[1])
    return torch.cat([nothing, flat[sources], nothing.expand(num_padding_rows, -1)])


def problem(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 5, *GRID, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64).to(dtype)
    bias = torch.randn(4, generator=generator, dtype=torch.float64).to(dtype)
    return [tensor.requires_grad_() for tensor in (features, weight, bias)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])  # by matrix product, by convolution
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_outputs_and_gradients_are_those_of_the_whole_convolution(dtype, memory_format):
    cells, sources, num_padding_rows = layer()
    features, weight, bias = problem(dtype)
    stored = weight.detach().clone(memory_format=memory_format).requires_grad_()
    whole = F.conv2d(features, weight, bias, padding=1)[0].permute(1, 2, 0).reshape(-1, 4)[CELLS]
    weighing = torch.arange(1.0, whole.numel() + 1, dtype=dtype).view_as(whole).sin()
    expected = torch.autograd.grad((whole * weighing).sum(), (features, weight, bias))
    found = convolve_cells(rows_of(features, sources, num_padding_rows), stored, bias, cells)[1 : 1 + len(CELLS)]
    torch.testing.assert_close(found, whole)
    gradients = torch.autograd.grad((found * weighing).sum(), (features, stored, bias))
    for gradient, of_whole in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, of_whole)


def test_row_zero_stays_zero_whatever_the_bias():
    cells, sources, num_padding_rows = layer()
    features, weight, bias = problem(torch.float32)
    assert convolve_cells(rows_of(features, sources, num_padding_rows), weight, bias + 7, cells)[0].abs().sum() == 0


def test_bfloat16_is_as_near_to_float64_as_the_whole_convolution_is():
    cells, sources, num_padding_rows = layer()
    features, weight, bias = (tensor.detach() for tensor in problem(torch.bfloat16))
    exact = F.conv2d(features.double(), weight.double(), bias.double(), padding=1)[0].permute(1, 2, 0).reshape(-1, 4)
    found = convolve_cells(rows_of(features, sources, num_padding_rows), weight, bias, cells)[1 : 1 + len(CELLS)]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact[CELLS], rtol=2**-8, atol=2**-6)


def test_a_second_derivative_is_refused():
    cells, sources, num_padding_rows = layer()
    features, weight, bias = problem(torch.float64)
    outputs = convolve_cells(rows_of(features, sources, num_padding_rows), weight, bias, cells)
    (gradient,) = torch.autograd.grad(outputs[1].square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
