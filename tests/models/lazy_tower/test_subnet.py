from __future__ import annotations

import pytest
import torch
from torch import nn

from retina.models.heads import Subnet
from retina.models.lazy_tower import subnet as lazy_subnet
from retina.models.lazy_tower.subnet import can_be_lazy, lazy_outputs

GRIDS = [(13, 17), (7, 9), (4, 5), (2, 3), (1, 2)]
SHAPES = 3
NUM_ANCHORS = SHAPES * sum(rows * columns for rows, columns in GRIDS)  # of one image
CLUSTERS = [0, 1, 2, 200, 203, 260, 664, 700, 801, 802, NUM_ANCHORS - 1, NUM_ANCHORS, NUM_ANCHORS + 420]


def make_subnet(dtype: torch.dtype = torch.float64, *, depth: int = 4) -> Subnet:
    """Weights and biases large enough that a missing neighbour or an unmasked border shows."""
    torch.manual_seed(3)
    subnet = Subnet(8, num_anchors=SHAPES, num_outputs=4, channels=8, depth=depth)
    for parameter in subnet.parameters():
        nn.init.normal_(parameter, std=0.3)
    return subnet.to(dtype)


def make_levels(dtype: torch.dtype = torch.float64, grids=GRIDS, batch_size: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch_size, 8, *grid, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for grid in grids
    ]


def outputs_and_gradients(function, subnet: Subnet, levels: list[torch.Tensor], count: int):
    """Outputs, and the gradients of a weighted sum of them by every level and parameter; zeros where there are none."""
    outputs = function()
    weighing = torch.arange(1.0, 4 * count + 1).view(count, 4).sin().to(outputs.dtype)
    leaves = [*levels, *subnet.parameters()]
    gradients = torch.autograd.grad((outputs * weighing).sum(), leaves, allow_unused=True)
    return outputs, [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True)]


def assert_lazy_is_dense(subnet, levels, wanted: list[int], **settings) -> None:
    index = torch.tensor(wanted, dtype=torch.int64)
    lazy = outputs_and_gradients(lambda: lazy_outputs(subnet, levels, index, **settings), subnet, levels, len(wanted))
    dense = outputs_and_gradients(lambda: subnet(levels).flatten(0, 1)[index], subnet, levels, len(wanted))
    torch.testing.assert_close(lazy[0], dense[0])
    for of_lazy, of_dense in zip(lazy[1], dense[1], strict=True):
        torch.testing.assert_close(of_lazy, of_dense)


# float64, because a ReLU at nearly zero falls on one side or the other by the rounding of float32.
@pytest.mark.parametrize("cell_cost", [0.0, 0.5, 1.8, 1e9], ids=lambda cost: f"cost {cost:g}")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_outputs_and_all_gradients_are_those_of_the_whole_subnet(cell_cost, memory_format):
    levels = [level.detach().to(memory_format=memory_format).requires_grad_() for level in make_levels()]
    subnet = make_subnet().to(memory_format=memory_format)
    assert_lazy_is_dense(subnet, levels, CLUSTERS, cell_cost=cell_cost)


@pytest.mark.parametrize("seed", range(12))
def test_outputs_and_all_gradients_agree_for_any_wanted_anchors(seed):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 60, (), generator=generator))
    wanted = torch.randint(0, 2 * NUM_ANCHORS, (count,), generator=generator).unique().tolist()
    assert_lazy_is_dense(make_subnet(depth=seed % 5), make_levels(), wanted)


def test_float32_agrees_where_no_relu_stands_at_its_kink():
    subnet = make_subnet(torch.float32)
    with torch.no_grad():
        for layer in subnet.tower[::2]:
            layer.bias.fill_(40.0)  # every unit is on
    levels = make_levels(torch.float32)
    index = torch.tensor(CLUSTERS)
    lazy, of_lazy = outputs_and_gradients(lambda: lazy_outputs(subnet, levels, index), subnet, levels, len(CLUSTERS))
    dense, of_dense = outputs_and_gradients(lambda: subnet(levels).flatten(0, 1)[index], subnet, levels, len(CLUSTERS))
    torch.testing.assert_close(lazy, dense, rtol=1e-5, atol=1e-4)
    for ours, theirs in zip(of_lazy, of_dense, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm() + 1e-4


def test_under_autocast_outputs_are_bfloat16_and_as_near_as_the_whole_subnets():
    subnet, levels, index = make_subnet(torch.float32), make_levels(torch.float32), torch.tensor(CLUSTERS)
    exact = subnet(levels).flatten(0, 1)[index].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lazy, dense = lazy_outputs(subnet, levels, index), subnet(levels).flatten(0, 1)[index]
    assert lazy.dtype == dense.dtype == torch.bfloat16
    assert (lazy - exact).norm() <= 1.5 * (dense - exact).norm()


def test_the_border_of_the_map_is_zero_in_every_layer_as_padding_makes_it():
    # With a large bias a cell outside of the map that is computed like any other would show at once.
    subnet = make_subnet()
    with torch.no_grad():
        for layer in subnet.tower[::2]:
            layer.bias.fill_(5.0)
    assert_lazy_is_dense(subnet, make_levels(), [0, 13 * 17 * SHAPES - 1], cell_cost=0.0)


def test_without_wanted_anchors_every_parameter_has_a_gradient_of_zero():
    subnet, levels = make_subnet(), make_levels()
    outputs = lazy_outputs(subnet, levels, torch.zeros(0, dtype=torch.int64))
    assert outputs.shape == (0, 4)
    outputs.sum().backward()
    assert [parameter.grad.abs().sum().item() for parameter in subnet.parameters()] == [0.0] * 10


def test_only_a_few_cells_are_computed(monkeypatch):
    rows = []
    convolve = lazy_subnet.convolve_cells
    monkeypatch.setattr(
        lazy_subnet, "convolve_cells", lambda *arguments: (rows.append(len(arguments[0])), convolve(*arguments))[1]
    )
    levels = make_levels(grids=[(60, 80), (30, 40)], batch_size=1)
    lazy_outputs(make_subnet(), levels, torch.tensor([SHAPES * (30 * 80 + 40)]))
    assert rows == [128, 128, 64, 64, 64], "11x11, 9x9, 7x7, 5x5 and 3x3 cells, rounded up; the maps have 6,000"


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.SyncBatchNorm(8), nn.InstanceNorm2d(8), nn.Conv2d(8, 8, 5, padding=2)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_tower_with_statistics_of_the_map_or_an_unknown_layer_cannot_be_lazy(layer):
    subnet = make_subnet()
    assert can_be_lazy(subnet)
    subnet.tower.insert(1, layer)
    assert not can_be_lazy(subnet)
