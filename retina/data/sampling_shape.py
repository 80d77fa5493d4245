"""Images of similar shape beside each other: batches with little padding, every image still once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retina.data.samplers import EpochOrders, epoch_order
from retina.data.sampling import ImageTable


@dataclass(frozen=True)
class AspectRatio:
    """Every image exactly once an epoch, in random groups of images of similar shape.

    The stream of images is cut into groups of ``group_size``. With ``group_size = train.batch_size`` a group is an
    optimizer step, and all its images, over ranks and micro-batches, come from one interval of width / height. What is
    left over of the intervals in an epoch fills mixed groups, one less than there are intervals at the most; a group
    across two epochs is of the most frequent shape. The order knows nothing of the number of ranks, nor of the batch
    size once ``group_size`` is given.
    """

    boundaries: Sequence[float] = (0.7, 0.9, 1.1, 1.4)  # of width / height, ascending; on a boundary is above it
    group_size: int | None = None  # None: filled in by the builder, with train.batch_size at the start of the run

    def __post_init__(self) -> None:
        if self.group_size is not None and self.group_size < 1:
            raise ValueError(f"sampling.group_size must be at least 1, got {self.group_size}")
        ascending = all(low < high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not ascending or any(not 0 < boundary < float("inf") for boundary in self.boundaries):
            raise ValueError(f"sampling.boundaries must be greater than 0 and ascending, got {list(self.boundaries)}")

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``."""
        if (group_size := self.group_size) is None:
            raise ValueError("sampling.group_size must be given: it is the number of images of one optimizer step")
        shapes = np.searchsorted(self.boundaries, images.sizes[:, 1] / images.sizes[:, 0], side="right")
        counts = np.bincount(shapes, minlength=len(self.boundaries) + 1)
        edges = ["0", *(f"{boundary:.4g}" for boundary in self.boundaries), "inf"]
        told = ", ".join(f"{edges[i]}..{edges[i + 1]}: {count}" for i, count in enumerate(counts))
        return EpochOrders(
            len(shapes),
            lambda seed, epoch: grouped_order(shapes, group_size=group_size, seed=seed, epoch=epoch),
            notes=(f"groups of {group_size} images of one shape; images by width / height {told}",),
        )


def grouped_order(shapes: np.ndarray, *, group_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return ``(n,)`` positions in the data set in the order of ``epoch``, in groups of one of ``shapes`` each.

    Group ``g`` is positions ``g * group_size`` on of the whole stream, so the first of an epoch's images may complete a
    group that the epoch before began.

    Args:
        shapes: ``(n,)`` whole numbers from 0 on, neighbours being similar.
        group_size: images of a group.
        seed: what the order is keyed by.
        epoch: which epoch.
    """
    num_images = len(shapes)
    shuffled = epoch_order(num_images, seed=seed, epoch=epoch)
    head = min(num_images, -epoch * num_images % group_size)  # of the group that the epoch before began
    tail = (num_images - head) % group_size  # of the group that the next epoch completes
    most_frequent = int(np.bincount(shapes).argmax())
    # The most frequent shape first, then the others from narrow to wide, each in random order.
    by_shape = shuffled[np.argsort(np.where(shapes == most_frequent, -1, shapes)[shuffled], kind="stable")]
    edge, rest = by_shape[: head + tail], by_shape[head + tail :]
    groups = _groups(rest, shapes[rest], group_size)
    generator = np.random.Generator(np.random.PCG64([seed, epoch, group_size]))
    return np.concatenate([edge[:head], groups[generator.permutation(len(groups))].ravel(), edge[head:]])


def _groups(indices: np.ndarray, shapes: np.ndarray, group_size: int) -> np.ndarray:
    """Return ``(g, group_size)``: whole groups of each shape, then mixed ones of what is left over."""
    starts = np.flatnonzero(np.diff(shapes, prepend=-2))
    counts = np.diff(np.append(starts, len(indices)))
    rank = np.arange(len(indices)) - np.repeat(starts, counts)  # place within the shape
    whole = rank < np.repeat(counts // group_size * group_size, counts)
    left_over = np.flatnonzero(~whole)
    # From narrow to wide, so that a mixed group mixes neighbours.
    left_over = left_over[np.argsort(shapes[left_over], kind="stable")]
    return np.concatenate([indices[whole], indices[left_over]]).reshape(-1, group_size)
