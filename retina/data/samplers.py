"""Which image comes when: a pure function of the seed and of the number of images already seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from retina.ranges import AtLeast1, Count, checked

# Sets the draw of a step's size apart from those of an epoch's order and of an image's augmentation.
_STEP_SIZE = 0x512E


class SampleKey(NamedTuple):
    """All that decides what a loader process makes of an image, so that any process makes the same."""

    epoch: int
    index: int  # type: ignore[assignment]  # position in the data set; hides tuple.index, which nobody needs
    size: tuple[int, int] | None = None  # (short side, long side) of this batch; None: those of the configuration
    copy: int = 0  # how often the image came before in this epoch, so that its copies are augmented each in its way


@dataclass(frozen=True)
class EpochOrders:
    """The images of every epoch in their order: what a sampling makes of a data set.

    All epochs have the same length, so a position in the endless stream of images tells its epoch.
    """

    length: int  # images of an epoch
    order: Callable[[int, int], np.ndarray]  # (seed, epoch) -> (length,) int64 positions in the data set
    repeats: bool = False  # an image may come more than once an epoch
    notes: tuple[str, ...] = ()  # what there is to tell at the start of a run


class KeyedBatchSampler(Sampler[list[SampleKey]]):
    """One rank's micro-batches of an endless stream of images.

    Position ``i`` of the stream is image ``order(seed, i // n)[i % n]`` of epoch ``i // n``; an optimizer step takes
    the next ``batch_size`` positions. So an epoch comes whole whatever the batch size: nothing is dropped or padded, a
    batch may reach into the next epoch. Within a step, chunk ``m * world_size + r`` is micro-batch ``m`` of rank ``r``.
    The state is one integer, the images already seen, and stays valid with another batch size or another number of
    ranks.
    """

    @checked
    def __init__(
        self,
        images: EpochOrders | int,
        *,
        batch_size: AtLeast1,
        accumulate: AtLeast1 = 1,
        rank: int = 0,
        world_size: AtLeast1 = 1,
        seed: int = 0,
        start: Count = 0,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Make the stream from ``start`` (images already seen) on.

        ``images``: orders of their epochs; a number means that so many images come once an epoch, in random order.
        ``batch_size``: images of one optimizer step over all ranks and its ``accumulate`` micro-batches.
        ``sizes``: (short side, long side) of which one is drawn for each optimizer step; empty: none is given.
        """
        orders = uniform_orders(images) if isinstance(images, int) else images
        if orders.length < 1:
            raise ValueError(f"num_images must be at least 1, got {orders.length}")
        if batch_size % (world_size * accumulate):
            parts = f"world_size x accumulate = {world_size} x {accumulate}"
            raise ValueError(f"batch_size must be a multiple of {parts}, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, {world_size}), got {rank}")
        self.orders, self.batch_size, self.accumulate = orders, batch_size, accumulate
        self.rank, self.world_size = rank, world_size
        self.seed, self.start, self.sizes = seed, start, tuple(sizes)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield this rank's micro-batches from ``start`` on, for ever."""
        chunk_size = self.batch_size // (self.world_size * self.accumulate)
        of_epoch = lru_cache(maxsize=1)(self._indices_and_copies)
        step_start = self.start
        while True:
            # Of the position, not of a count of steps: a resumed run has the same sizes.
            size = drawn_size(self.sizes, seed=self.seed, position=step_start) if self.sizes else None
            for micro_batch in range(self.accumulate):
                first = step_start + (micro_batch * self.world_size + self.rank) * chunk_size
                keys = []
                for position in range(first, first + chunk_size):
                    epoch, place = divmod(position, self.orders.length)
                    indices, copies = of_epoch(epoch)
                    keys.append(SampleKey(epoch, int(indices[place]), size, int(copies[place])))
                yield keys
            step_start += self.batch_size

    def _indices_and_copies(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        indices = self.orders.order(self.seed, epoch)
        return indices, _times_before(indices) if self.orders.repeats else np.zeros_like(indices)


class EvalBatchSampler(Sampler[list[SampleKey]]):
    """Every image once. Batches are the same for any number of ranks, which take them in turn.

    Upright images come after the others: a batch that mixes the two is mostly padding.
    """

    @checked
    def __init__(self, sizes: np.ndarray, *, batch_size: AtLeast1, rank: int = 0, world_size: AtLeast1 = 1) -> None:
        """Args: ``sizes`` ``(n, 2)`` heights and widths of the images; ``batch_size`` images at once a rank."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, {world_size}), got {rank}")
        order = np.argsort(sizes[:, 0] > sizes[:, 1], kind="stable")
        starts = range(0, len(sizes), batch_size)
        self._batches = [order[first : first + batch_size] for first in starts][rank::world_size]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield this rank's batches."""
        for batch in self._batches:
            yield [SampleKey(0, int(index)) for index in batch]


def epoch_order(num_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return ``(num_images,)`` positions in the data set in the order of ``epoch``, a function of the seed."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_images)


def uniform_orders(num_images: int) -> EpochOrders:
    """Return the orders in which every image comes exactly once an epoch."""
    return EpochOrders(num_images, lambda seed, epoch: epoch_order(num_images, seed=seed, epoch=epoch))


def drawn_size(sizes: Sequence[tuple[int, int]], *, seed: int, position: int) -> tuple[int, int]:
    """Return the one of ``sizes`` for the optimizer step that begins at ``position`` of the stream, on every rank."""
    generator = np.random.Generator(np.random.PCG64([seed, position, _STEP_SIZE]))
    return sizes[int(generator.integers(len(sizes)))]


def _times_before(indices: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` how often each entry of ``indices`` stands further to the front."""
    by_value = np.argsort(indices, kind="stable")
    starts_run = np.diff(indices[by_value], prepend=-1) != 0
    first_of_run = np.maximum.accumulate(np.where(starts_run, np.arange(len(indices)), 0))
    copies = np.empty(len(indices), dtype=np.int64)
    copies[by_value] = np.arange(len(indices)) - first_of_run
    return copies
