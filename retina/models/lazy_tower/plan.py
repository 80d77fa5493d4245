"""Which cells a tower of 3x3 convolutions has to compute so that a few wanted outputs are right.

The outputs of a cell depend on its eight neighbours in the layer before, those on theirs, and so on: every layer needs
the cells of the next one and their neighbours. This is found on the host, before the device is asked for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise

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
    cell, shape = np.divmod(anchor_index.numpy(), anchors_per_cell)
    wanted = grid.cells[cell]  # (P,)
    listed = [np.unique(wanted)]  # the cells of every layer, those of the input first
    for _ in range(num_layers):
        listed.insert(0, grid.neighbourhood(listed[0]))
    is_dense = _dense_levels(grid, listed, break_even)
    listed = [cells[~is_dense[grid.level[cells]]] for cells in listed]

    # Something has to be computed, so that every parameter gets a gradient; but only one of the two.
    is_listed = len(listed[-1]) > 0 or not is_dense.any()
    layers = [_layer_cells(grid, *cells) for cells in pairwise(listed)] if is_listed else []
    first = _round_up(1 + len(listed[-1])) if is_listed else 0  # row of the first dense level
    sizes = grid.num_cells * is_dense
    in_dense = first + (np.cumsum(sizes) - sizes)[grid.level[wanted]] + grid.place[wanted]
    row = np.where(is_dense[grid.level[wanted]], in_dense, grid.rows_of(listed[-1])[wanted])
    return TowerCells(
        sources=[torch.from_numpy(cells) for cells in grid.sources(listed[0])],
        num_padding_rows=_round_up(1 + len(listed[0])) - 1 - len(listed[0]),
        layers=layers,
        dense_levels=np.flatnonzero(is_dense).tolist(),
        outputs=torch.from_numpy(row * anchors_per_cell + shape),
    )


class _PaddedGrid:
    """All levels of a batch as one list of cells, each map with a border of one cell around it."""

    def __init__(self, grid_sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        maps = [np.pad(np.ones((batch_size, *size), dtype=bool), ((0, 0), (1, 1), (1, 1))) for size in grid_sizes]
        self.inside = np.concatenate([each.ravel() for each in maps])  # whether a cell is none of a border
        self.level = np.repeat(np.arange(len(maps)), [each.size for each in maps])
        self.place = np.concatenate([np.cumsum(each) - 1 for each in maps])  # of a cell in its map without a border
        self.width = np.array([each.shape[2] for each in maps])  # (L,)
        self.num_cells = np.array([np.count_nonzero(each) for each in maps])  # (L,) without borders
        levels = np.split(np.flatnonzero(self.inside), np.cumsum(self.num_cells)[:-1])
        # Cells as anchors are counted: image after image, each by level, row, column.
        self.cells = np.concatenate([cells.reshape(batch_size, -1) for cells in levels], axis=1).ravel()

    def around(self, cells: np.ndarray) -> np.ndarray:
        """Return ``(n, 9)``: each cell's neighbours in the order of a 3x3 kernel, the border included."""
        return cells[:, None] + _ROWS * self.width[self.level[cells]][:, None] + _COLUMNS

    def neighbourhood(self, cells: np.ndarray) -> np.ndarray:
        """Return the cells and their neighbours inside the maps, ascending."""
        wanted = np.zeros_like(self.inside)
        wanted[self.around(cells)] = True
        return np.flatnonzero(wanted & self.inside)

    def rows_of(self, cells: np.ndarray) -> np.ndarray:
        """Return for every cell of the list its row where ``cells`` have rows, 0 where it is not among them."""
        rows = np.zeros(len(self.inside), dtype=np.int64)
        rows[cells] = np.arange(1, len(cells) + 1)
        return rows

    def sources(self, cells: np.ndarray) -> list[np.ndarray]:
        """Return for each level the places of its ``cells``."""
        ends = np.searchsorted(self.level[cells], np.arange(1, len(self.width)))
        return np.split(self.place[cells], ends)


# Batches come in few sizes; the tables of one are some hundred kB.
@lru_cache(maxsize=16)
def _padded_grid(grid_sizes: tuple[tuple[int, int], ...], batch_size: int) -> _PaddedGrid:
    return _PaddedGrid(grid_sizes, batch_size)


def _layer_cells(grid: _PaddedGrid, inputs: np.ndarray, outputs: np.ndarray) -> LayerCells:
    """Return the tables of a convolution that reads the cells ``inputs`` and computes the cells ``outputs``."""
    neighbours = grid.rows_of(inputs)[grid.around(outputs)]
    # The kernel's place is the other way round: an input cell at offset d of the output has it at -d.
    readers = grid.rows_of(outputs)[grid.around(inputs)[:, ::-1]]
    return LayerCells(_with_padding(neighbours), _with_padding(readers * NUM_NEIGHBOURS + np.arange(NUM_NEIGHBOURS)))


def _dense_levels(grid: _PaddedGrid, listed: Sequence[np.ndarray], break_even: float) -> np.ndarray:
    """Return ``(L,)`` bool: the levels to compute whole, given the cells of every layer, those of the input first."""
    computed = listed[1:]
    counts = np.sum([np.bincount(grid.level[cells], minlength=len(grid.width)) for cells in computed], axis=0)
    whole = grid.num_cells * len(computed)
    dense = (counts * break_even >= whole) & (counts > 0)
    # What is left is rounded up, which counts where the maps are small.
    rows = sum(_round_up(1 + int(np.count_nonzero(~dense[grid.level[cells]]))) for cells in computed)
    all_dense = rows * break_even >= whole[(counts > 0) & ~dense].sum()
    return np.asarray(counts > 0) if all_dense else dense


def _with_padding(table: np.ndarray) -> Tensor:
    """Return ``table`` with row 0 before it, and rows behind it up to a multiple of ``ROW_MULTIPLE``; all zero."""
    rows = np.zeros((_round_up(1 + len(table)), NUM_NEIGHBOURS), dtype=np.int64)
    rows[1 : 1 + len(table)] = table
    return torch.from_numpy(rows)


def _round_up(count: int) -> int:
    return -(-count // ROW_MULTIPLE) * ROW_MULTIPLE
