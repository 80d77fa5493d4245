"""Which image comes when: a pure function of the seed and of the number of images already seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """All that decides what a loader process makes of an image, so that any process makes the same."""

    epoch: int
    index: int  # type: ignore[assignment]  # position in the data set; hides tuple.index, which nobody needs
    canvas: tuple[int, int] | None = None  # (height, width) to pad to; None: as the batch needs


class KeyedBatchSampler(Sampler[list[SampleKey]]):
    """One rank's micro-batches of an endless stream of images.

    Position ``i`` of the stream is image ``permutation(seed, i // n)[i % n]`` of epoch ``i // n``; an optimizer step
    takes the next ``batch_size`` positions. So every image comes exactly once an epoch whatever the batch size:
    nothing is dropped or repeated, a batch may reach into the next epoch. Within a step, chunk ``m * world_size + r``
    is micro-batch ``m`` of rank ``r``. The state is one integer, the images already seen, and stays valid with
    another batch size or another number of ranks.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        start: int = 0,
        shuffle: bool = True,
    ) -> None:
        """Args: ``batch_size`` images of one optimizer step over all ranks; ``start``: images already seen."""
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        if batch_size < 1 or accumulate < 1 or batch_size % (world_size * accumulate):
            parts = f"world_size x accumulate = {world_size} x {accumulate}"
            raise ValueError(f"batch_size must be a multiple of {parts}, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, {world_size}), got {rank}")
        if start < 0:
            raise ValueError(f"start must be at least 0, got {start}")
        self.num_images, self.batch_size, self.accumulate = num_images, batch_size, accumulate
        self.rank, self.world_size = rank, world_size
        self.seed, self.start, self.shuffle = seed, start, shuffle

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield this rank's micro-batches from ``start`` on, for ever."""
        chunk_size = self.batch_size // (self.world_size * self.accumulate)
        epoch, order = -1, np.zeros(0, dtype=np.int64)
        step_start = self.start
        while True:
            for micro_batch in range(self.accumulate):
                first = step_start + (micro_batch * self.world_size + self.rank) * chunk_size
                keys = []
                for position in range(first, first + chunk_size):
                    if position // self.num_images != epoch:
                        epoch = position // self.num_images
                        order = epoch_order(self.num_images, seed=self.seed, epoch=epoch, shuffle=self.shuffle)
                    keys.append(SampleKey(epoch, int(order[position % self.num_images])))
                yield keys
            step_start += self.batch_size


class EvalBatchSampler(Sampler[list[SampleKey]]):
    """Every image once. Batches are the same for any number of ranks, which take them in turn.

    Upright images come after the others: a batch that mixes the two is mostly padding.
    """

    def __init__(self, sizes: np.ndarray, *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        """Args: ``sizes`` ``(n, 2)`` heights and widths of the images; ``batch_size`` images at once a rank."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
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


def epoch_order(num_images: int, *, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return ``(num_images,)`` positions in the data set in the order of ``epoch``, a function of the seed."""
    if not shuffle:
        return np.arange(num_images)
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_images)
