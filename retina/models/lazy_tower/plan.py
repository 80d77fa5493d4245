"""Which cells a tower of 3x3 convolutions has to compute so that a few wanted outputs are right.

The outputs of a cell depend on its eight neighbours in the layer before, those on theirs, and so on: every layer needs
the cells of the next one and their neighbours. This is found on the host, before the device is asked for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

# Rows are rounded up to a multiple of this, so that few different shapes occur: a kernel is prepared for every new one.
ROW_MULTIPLE = 64
NUM_NEIGHBOURS = 9
_ROWS = np.repeat([-1, 0, 1], 3)  # of the neighbours, in the order of a 3x3 kernel
_COLUMNS = np.tile([-1, 0, 1], 3)


@dataclass(frozen=True)
class LayerCells:
    """One convolution on listed cells. Row 0 of every layer stands for all cells outside of the map: it is zero."""

    neighbours: Tensor  # (N, 9) int64: for each output row the input rows under the kernel
    uses: Tensor  # (M, 9) int64: for each input row the entries `output row * 9 + place in the kernel` that read it


@dataclass(frozen=True)
class TowerCells:
    """What a tower computes for wanted outputs; all tensors on the host."""

    sources: Sequence[Tensor]  # (L,) each (n,) int64: cells `(b * h + row) * w + column` of a level's map, first rows
    num_padding_rows: int  # rows that follow the sources; row 0 is not counted
    layers: Sequence[LayerCells]  # first convolution first; none where all that is wanted is in dense levels
    dense_levels: Sequence[int]  # levels where listing cells would not pay: they are computed whole
    outputs: Tensor  # (P,) int64: where each wanted anchor stands among the gathered rows, then the dense levels

    def to(self, device: torch.device) -> TowerCells:
        """Return the same plan with its tensors on ``device``, without waiting for it."""
        move = partial(Tensor.to, device=device, non_blocking=True)
        return replace(
            self,
            sources=[move(cells) for cells in self.sources],
            layers=[LayerCells(move(layer.neighbours), move(layer.uses)) for layer in self.layers],
            outputs=move(self.outputs),
        )


def plan_tower(
    anchor_index: Tensor,
    grid_sizes: Sequence[tuple[int, int]],
    *,
    batch_size: int,
    anchors_per_cell: int,
    num_layers: int,
    break_even: float,
) -> TowerCells:
    """Plan a tower of ``num_layers`` convolutions for the anchors ``anchor_index``.

    Args:
        anchor_index: ``(P,)`` int64 in [0, B * A), on the host.
        break_even: a level is computed whole where its listed cells times this, over all layers, are as many as the
            level has: a listed cell costs more than one of a map.
    """
    grid = _padded_grid(tuple(grid_sizes), batch_size)
    level, cell, shape = _places(anchor_index.numpy(), grid_sizes, anchors_per_cell)
    active = [np.unique(grid.flat(level, *cell))]
    for _ in range(num_layers):
        active.insert(0, grid.neighbourhood(active[0]))
    is_dense = _dense_levels(grid, active, break_even)
    active = [cells[~is_dense[grid.level[cells]]] for cells in active]

    # Something has to be computed, so that every parameter gets a gradient; but only one of the two.
    num_layers = 0 if is_dense.any() and not len(active[-1]) else num_layers
    positions = [grid.positions(cells) for cells in active]
    num_rows = [_round_up(1 + len(cells)) for cells in active]
    layers = [
        LayerCells(
            neighbours=_rows(positions[i][grid.around(active[i + 1])], num_rows[i + 1], fill=0),
            # The kernel's place is the other way round: an input cell at offset d of the output has it at -d.
            uses=_rows(
                positions[i + 1][grid.around(active[i])[:, ::-1]] * NUM_NEIGHBOURS + np.arange(NUM_NEIGHBOURS),
                num_rows[i],
                fill=0,
            ),
        )
        for i in range(num_layers)
    ]
    dense_levels = [int(number) for number in np.flatnonzero(is_dense)]
    row, first = positions[-1][grid.flat(level, *cell)], num_rows[-1] if num_layers else 0
    for number in dense_levels:
        here, (rows, columns) = level == number, grid_sizes[number]
        image, y, x = (part[here] for part in cell)
        row[here] = first + (image * rows + y) * columns + x
        first += batch_size * rows * columns
    return TowerCells(
        sources=[torch.from_numpy(cells) for cells in grid.sources(active[0])],
        num_padding_rows=num_rows[0] - 1 - len(active[0]),
        layers=layers,
        dense_levels=dense_levels,
        outputs=torch.from_numpy(row * anchors_per_cell + shape),
    )


class _PaddedGrid:
    """All levels of a batch as one list of cells, each map with a border of one cell around it."""

    def __init__(self, grid_sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        self.grid_sizes, self.batch_size = grid_sizes, batch_size
        counts = [batch_size * (rows + 2) * (columns + 2) for rows, columns in grid_sizes]
        self.first = np.cumsum([0, *counts])  # (L + 1,)
        self.width = np.array([columns + 2 for _, columns in grid_sizes])
        self.height = np.array([rows + 2 for rows, _ in grid_sizes])
        self.level = np.repeat(np.arange(len(grid_sizes)), counts)
        inside = [np.zeros((batch_size, rows + 2, columns + 2), dtype=bool) for rows, columns in grid_sizes]
        for mask in inside:
            mask[:, 1:-1, 1:-1] = True
        self.inside = np.concatenate([mask.ravel() for mask in inside])

    def flat(self, level: np.ndarray, image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Return the number of each cell in the list."""
        padded_row = image * self.height[level] + row + 1
        return self.first[level] + padded_row * self.width[level] + column + 1

    def around(self, cells: np.ndarray) -> np.ndarray:
        """Return ``(n, 9)``: each cell's neighbours in the order of a 3x3 kernel, the border included."""
        return cells[:, None] + _ROWS * self.width[self.level[cells]][:, None] + _COLUMNS

    def neighbourhood(self, cells: np.ndarray) -> np.ndarray:
        """Return the cells and their neighbours inside the maps, ascending."""
        wanted = np.zeros_like(self.inside)
        wanted[self.around(cells)] = True
        return np.flatnonzero(wanted & self.inside)

    def positions(self, cells: np.ndarray) -> np.ndarray:
        """Return for every cell of the list its row, 0 where it is not among ``cells``."""
        rows = np.zeros(len(self.inside), dtype=np.int64)
        rows[cells] = np.arange(1, len(cells) + 1)
        return rows

    def sources(self, cells: np.ndarray) -> list[np.ndarray]:
        """Return for each level the cells of its unpadded map."""
        result = []
        for number, (rows, columns) in enumerate(self.grid_sizes):
            low, high = np.searchsorted(cells, self.first[number : number + 2])
            padded_row, column = np.divmod(cells[low:high] - self.first[number], columns + 2)
            image, row = np.divmod(padded_row, rows + 2)
            result.append((image * rows + row - 1) * columns + column - 1)
        return result


# Batches come in few sizes; the tables of one are some hundred kB.
@lru_cache(maxsize=16)
def _padded_grid(grid_sizes: tuple[tuple[int, int], ...], batch_size: int) -> _PaddedGrid:
    return _PaddedGrid(grid_sizes, batch_size)


def _dense_levels(grid: _PaddedGrid, active: Sequence[np.ndarray], break_even: float) -> np.ndarray:
    """Return ``(L,)`` bool: the levels to compute whole, given the cells of every layer, those of the input first."""
    num_levels = len(grid.grid_sizes)
    listed = np.zeros(num_levels, dtype=np.int64)
    for cells in active[1:]:
        listed += np.bincount(grid.level[cells], minlength=num_levels)
    counts = [grid.batch_size * rows * columns for rows, columns in grid.grid_sizes]
    whole = np.array(counts) * (len(active) - 1)
    dense = (listed * break_even >= whole) & (listed > 0)
    # What is left is rounded up, which counts where the maps are small.
    rows = sum(_round_up(1 + int(np.count_nonzero(~dense[grid.level[cells]]))) for cells in active[1:])
    all_dense = rows * break_even >= whole[(listed > 0) & ~dense].sum()
    return np.asarray(listed > 0) if all_dense else dense


def _places(
    anchor_index: np.ndarray, grid_sizes: Sequence[tuple[int, int]], anchors_per_cell: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Return each anchor's level, its cell as (image, row, column), and its number among the anchors of the cell."""
    counts = np.array([rows * columns * anchors_per_cell for rows, columns in grid_sizes])
    first = np.cumsum([0, *counts])
    image, anchor = np.divmod(anchor_index, first[-1])
    level = np.searchsorted(first, anchor, side="right") - 1
    in_level, shape = np.divmod(anchor - first[level], anchors_per_cell)
    row, column = np.divmod(in_level, np.array([columns for _, columns in grid_sizes])[level])
    return level, (image, row, column), shape


def _rows(table: np.ndarray, num_rows: int, *, fill: int) -> Tensor:
    """Return ``table`` with a row of ``fill`` before it and as many behind it as make ``num_rows``."""
    result = np.full((num_rows, table.shape[1]), fill, dtype=np.int64)
    result[1 : 1 + len(table)] = table
    return torch.from_numpy(result)


def _round_up(count: int) -> int:
    return -(-count // ROW_MULTIPLE) * ROW_MULTIPLE
