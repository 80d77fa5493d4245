from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from retina.models.lazy_tower.plan import NUM_NEIGHBOURS, ROW_MULTIPLE, plan_tower

GRIDS = [(6, 9), (3, 5), (1, 2)]
SHAPES = 3  # anchors of a cell


def plan(anchor_index, *, batch_size=2, num_layers=2, break_even=0.0):
    return plan_tower(
        torch.as_tensor(anchor_index, dtype=torch.int64),
        GRIDS,
        batch_size=batch_size,
        anchors_per_cell=SHAPES,
        num_layers=num_layers,
        break_even=break_even,
    )


def anchor(image: int, level: int, row: int, column: int, shape: int = 0) -> int:
    """The number of an anchor as the project counts them: by image, level, row, column, shape."""
    before = sum(rows * columns for rows, columns in GRIDS[:level])
    everything = sum(rows * columns for rows, columns in GRIDS)
    return ((image * everything + before + row * GRIDS[level][1] + column) * SHAPES) + shape


def dilated(cells: set[tuple[int, int]], size: tuple[int, int], times: int) -> set[tuple[int, int]]:
    """The cells within ``times`` steps, by max pooling of a map."""
    mask = torch.zeros(1, 1, *size)
    for row, column in cells:
        mask[0, 0, row, column] = 1
    for _ in range(times):
        mask = F.max_pool2d(mask, 3, stride=1, padding=1)
    return {(int(row), int(column)) for row, column in mask[0, 0].nonzero()}


def test_the_first_rows_are_the_cells_that_the_wanted_ones_depend_on():
    sources = plan([anchor(1, 0, 2, 0), anchor(1, 1, 2, 4)], num_layers=2).sources
    for level, cell in ((0, (2, 0)), (1, (2, 4))):
        rows, columns = GRIDS[level]
        expected = {rows * columns + row * columns + column for row, column in dilated({cell}, GRIDS[level], 2)}
        assert set(sources[level].tolist()) == expected, "of image 1"
    assert sources[2].numel() == 0


def test_neighbours_outside_of_the_map_are_row_zero_and_never_a_cell_of_another_row_or_level():
    layers = plan([anchor(0, 0, 0, 8)], num_layers=1).layers
    (neighbours,) = [layer.neighbours[1] for layer in layers]
    # A corner: the row above and the column to the right do not exist.
    assert (neighbours > 0).tolist() == [False, False, False, True, True, False, True, True, False]
    assert len(set(neighbours[neighbours > 0].tolist())) == 4


def test_uses_list_exactly_the_entries_that_read_a_row():
    cells = [anchor(0, 0, 2, 3), anchor(0, 0, 3, 3), anchor(1, 1, 0, 0), anchor(1, 2, 0, 1)]
    for layer in plan(cells, num_layers=3).layers:
        entries = layer.neighbours.flatten()
        for row in range(1, len(layer.uses)):
            readers = set((entries == row).nonzero().squeeze(1).tolist())
            uses = {entry for entry in layer.uses[row].tolist() if entry >= NUM_NEIGHBOURS}  # below: of row 0, zero
            assert uses == readers


def test_every_layer_has_a_multiple_of_rows_and_the_first_one_is_row_zero():
    tower = plan([anchor(0, 0, 2, 3)], num_layers=3)
    assert 1 + sum(map(len, tower.sources)) + tower.num_padding_rows == len(tower.layers[0].uses)
    for layer, following in zip(tower.layers, tower.layers[1:], strict=False):
        assert len(layer.neighbours) == len(following.uses)
    for layer in tower.layers:
        assert len(layer.neighbours) % ROW_MULTIPLE == len(layer.uses) % ROW_MULTIPLE == 0
        assert layer.neighbours[0].sum() == 0


def test_outputs_stand_where_the_wanted_anchors_are():
    wanted = [anchor(0, 0, 2, 3, 1), anchor(0, 0, 2, 3, 2), anchor(1, 1, 0, 0, 0)]
    assert plan(wanted).outputs.tolist() == [1 * SHAPES + 1, 1 * SHAPES + 2, 2 * SHAPES + 0]


def test_a_level_with_nearly_all_its_cells_wanted_is_computed_whole_and_the_others_are_not():
    everything = [anchor(image, 1, row, column) for image in (0, 1) for row in range(3) for column in range(5)]
    wanted = sorted([anchor(0, 0, 5, 8, 2), *everything])
    tower = plan(wanted, break_even=1.0)
    assert tower.dense_levels == [1]
    assert tower.sources[1].numel() == 0
    first = len(tower.layers[-1].neighbours) * SHAPES
    expected = {anchor(0, 0, 5, 8, 2): SHAPES + 2}
    expected |= {number: first + SHAPES * place for place, number in enumerate(everything)}
    assert tower.outputs.tolist() == [expected[number] for number in wanted]
    assert plan(wanted, break_even=0.0).dense_levels == []


def test_small_maps_are_computed_whole_where_rounding_up_the_rows_would_cost_more():
    wanted = [anchor(0, 0, 2, 3)]
    assert plan(wanted, num_layers=1, break_even=1.0).dense_levels == []
    tower = plan(wanted, num_layers=1, break_even=2.0)  # 64 rows for 9 cells; the map of two images has 108
    assert tower.dense_levels == [0]
    assert tower.layers == []
    assert tower.outputs.tolist() == [anchor(0, 0, 2, 3)]


def test_nothing_wanted_leaves_padding_rows_only():
    tower = plan([])
    assert tower.outputs.shape == (0,)
    assert [layer.neighbours.sum() for layer in tower.layers] == [0, 0]
    assert tower.num_padding_rows == ROW_MULTIPLE - 1
    assert tower.dense_levels == []


@pytest.mark.parametrize("seed", range(5))
def test_every_layer_computes_the_neighbourhood_of_the_next_one(seed):
    generator = np.random.default_rng(seed)
    num_anchors = SHAPES * sum(rows * columns for rows, columns in GRIDS)
    wanted = np.unique(generator.integers(0, 2 * num_anchors, 6))
    tower = plan(wanted, num_layers=4)
    cells_of = {level: set() for level in range(3)}
    for number in wanted:
        cell = number % num_anchors // SHAPES
        for level, (rows, columns) in enumerate(GRIDS):
            if cell < rows * columns:
                cells_of[level].add((number // num_anchors, *divmod(cell, columns)))
                break
            cell -= rows * columns
    for level, (rows, columns) in enumerate(GRIDS):
        expected = set()
        for image in (0, 1):
            here = {cell[1:] for cell in cells_of[level] if cell[0] == image}
            expected |= {(image * rows + row) * columns + column for row, column in dilated(here, (rows, columns), 4)}
        assert set(tower.sources[level].tolist()) == expected
