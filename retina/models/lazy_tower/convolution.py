"""A 3x3 convolution computed at listed cells only, with the gradients of the whole one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from retina.models.lazy_tower.plan import NUM_NEIGHBOURS, LayerCells


def convolve_cells(rows: Tensor, weight: Tensor, bias: Tensor, cells: LayerCells) -> Tensor:
    """Return ``(N, O)`` outputs of the listed cells for ``(M, C)`` inputs; row 0 is zero in both.

    ``weight`` is ``(O, C, 3, 3)``; the tables of ``cells`` are on the device of ``rows``.
    """
    # Columns in the order of the kernel's places, then channels: a view where the weight is channels-last.
    flat = weight.permute(0, 2, 3, 1).flatten(1)
    return _ConvolveCells.apply(rows, flat.to(rows.dtype), bias.to(rows.dtype), cells.neighbours, cells.uses)


class _ConvolveCells(torch.autograd.Function):
    """One matrix product over gathered neighbourhoods.

    The neighbourhoods are nine times the input, so they are gathered again for the gradients rather than kept. The
    gradient of the input is gathered as well (every input row sums over the entries that read it): nothing is
    scattered, so no two threads meet at one row and the result is the same every time.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor, uses: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight, neighbours, uses)
        outputs = _product(_neighbourhoods(rows, neighbours), weight, bias)
        outputs[0] = 0.0
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Rows of no cell have the gradient zero: no table refers to their outputs, and the first gradient, that of an
        # index_select of cells, is zero there.
        rows, weight, neighbours, uses = ctx.saved_tensors
        of_inputs, of_weight = _product_gradients(gradient, _neighbourhoods(rows, neighbours), weight)
        of_rows = F.embedding_bag(uses, of_inputs.view(-1, rows.shape[1]), mode="sum")
        return of_rows, of_weight, gradient.sum(dim=0), None, None


def _neighbourhoods(rows: Tensor, neighbours: Tensor) -> Tensor:
    """Return ``(N, 9 * C)``."""
    return rows.index_select(0, neighbours.flatten()).view(len(neighbours), NUM_NEIGHBOURS * rows.shape[1])


def _product(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``inputs @ weight.T + bias``."""
    if _as_convolution(inputs):
        return _as_rows(F.conv2d(_as_map(inputs), weight[:, :, None, None], bias))
    return F.linear(inputs, weight, bias)


def _product_gradients(gradient: Tensor, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``inputs @ weight.T`` by ``inputs`` and by ``weight``."""
    if not _as_convolution(inputs):
        return gradient @ weight, gradient.t() @ inputs
    maps = _as_map(gradient), _as_map(inputs), weight[:, :, None, None]
    # Not of the bias: its gradient is a sum that needs none of this.
    of_inputs, of_weight, _ = torch.ops.aten.convolution_backward(
        *maps, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, (True, True, False)
    )
    return _as_rows(of_inputs), of_weight.flatten(1)


def _as_convolution(inputs: Tensor) -> bool:
    # The float32 matrix product that torch takes on a CPU reaches 185 GFLOP/s on an EPYC where the 1x1 convolution, the
    # same arithmetic, reaches 420; in bfloat16 both reach 850.
    return inputs.device.type == "cpu" and inputs.dtype is torch.float32


def _as_map(rows: Tensor) -> Tensor:
    """Return ``(N, C)`` rows as a channels-last map ``(1, C, N, 1)``; no copy."""
    return rows.contiguous()[None, :, None, :].permute(0, 3, 1, 2)


def _as_rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
