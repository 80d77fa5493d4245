"""A subnet computed only where outputs are wanted; the same numbers as the whole one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retina.models.heads import Subnet
from retina.models.lazy_tower.convolution import convolve_cells
from retina.models.lazy_tower.plan import TowerCells, plan_tower

# What one listed cell costs in cells of a whole map. Measured on 2 CPU cores with 256 channels: 1.7 to 2.5 in float32,
# 1.6 to 2.4 in bfloat16 (benchmarks/box_tower.py). Not measured on a GPU.
CELL_COST = 2.0


def can_be_lazy(subnet: Subnet) -> bool:
    """Return whether every output of ``subnet`` depends on its neighbourhood alone.

    A norm with batch or spatial statistics sees the whole map, so a tower that holds one is computed whole; so is any
    layer that is not known here.
    """
    return all(isinstance(layer, nn.ReLU) or _is_plain_convolution(layer) for layer in [*subnet.tower, subnet.predict])


def lazy_outputs(
    subnet: Subnet, levels: Sequence[Tensor], anchor_index: Tensor, *, cell_cost: float = CELL_COST
) -> Tensor:
    """Return ``(P, num_outputs)``: rows ``anchor_index`` of ``subnet(levels).flatten(0, 1)``.

    What is computed is decided on the host, where ``anchor_index`` is; ``cell_cost`` 0 never computes a level whole.
    Without any wanted anchor every parameter still gets a gradient, of zero, as ranks that exchange gradients need it.
    """
    plan = plan_tower(
        anchor_index,
        [(level.shape[-2], level.shape[-1]) for level in levels],
        batch_size=len(levels[0]),
        anchors_per_cell=subnet.num_anchors,
        num_layers=1 + sum(isinstance(layer, nn.Conv2d) for layer in subnet.tower),
        break_even=cell_cost,
    ).to(levels[0].device)
    outputs = [_listed_cells(subnet, levels, plan)] if plan.layers else []
    outputs += [subnet([levels[number]]).flatten(0, 1) for number in plan.dense_levels]
    return torch.cat(outputs).index_select(0, plan.outputs)


def _listed_cells(subnet: Subnet, levels: Sequence[Tensor], plan: TowerCells) -> Tensor:
    """Return ``(N * shapes, num_outputs)`` of all listed rows, row 0 and padding among them."""
    rows = _gather(levels, plan)
    layers = iter(plan.layers)
    for layer in [*subnet.tower, subnet.predict]:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None  # see can_be_lazy
            rows = convolve_cells(rows, layer.weight, layer.bias, next(layers))
        else:
            rows = F.relu(rows)
    return rows.view(-1, subnet.num_outputs)


def _gather(levels: Sequence[Tensor], plan: TowerCells) -> Tensor:
    """Return the ``(M, C)`` features that the first convolution reads, after a row of zeros."""
    first = levels[0]
    channels, device_type = first.shape[1], first.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else first.dtype
    maps = [level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels]  # with channels-last maps views
    rows = [each.index_select(0, cells).to(dtype) for each, cells in zip(maps, plan.sources, strict=True)]
    zeros = first.new_zeros(1 + plan.num_padding_rows, channels, dtype=dtype)
    return torch.cat([zeros[:1], *rows, zeros[1:]])


def _is_plain_convolution(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.padding == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.bias is not None
        and layer.padding_mode == "zeros"
    )
