"""Which images an epoch has, and in which order: uniform, by repeat factors, balanced over classes, by shape.

Each sampling is a function of the data set, the seed and the epoch alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from retina.data.annotations import Annotations
from retina.data.dataset import DetectionDataset
from retina.data.samplers import EpochOrders, epoch_order, uniform_orders
from retina.errors import ConfigError, first_five
from retina.ranges import Above0, AtLeast1, ShareAbove0, checked

# Sets these draws apart from the order of a uniform epoch and from each other.
_REPEATS, _CLASSES = 0x4E9, 0xC1A
_SHOWN_FACTORS = 3  # classes whose repeat factor is told


ImageTable = Annotations | DetectionDataset  # what is read of them: sizes, labels, crowd, offsets, class_names


class Sampling(Protocol):
    """A choice of the group ``sampling``."""

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``."""


@dataclass(frozen=True)
class Uniform:
    """Every image exactly once an epoch, in random order."""

    def orders(self, images: ImageTable) -> EpochOrders:
        return uniform_orders(len(images.sizes))


@checked
@dataclass(frozen=True)
class RepeatFactor:
    """Images with rare classes come more often: ``r(i)`` times an epoch on average, and at least once.

    A class that ``f`` of the images have gets ``r = max(1, sqrt(threshold / f))``, an image the largest factor of its
    classes. The fraction of ``r(i)`` is rounded up or down anew in each epoch, so that the mean is exact; an image
    without objects comes once.

    Source: Gupta et al. 2019, LVIS, section 5 (repeat factor sampling).
    """

    threshold: ShareAbove0 = 0.001  # of the images; a class in fewer is rare; the authors' for 100k images

    def orders(self, images: ImageTable) -> EpochOrders:
        classes, owners = class_members(images)
        shares = np.bincount(classes, minlength=len(images.class_names)) / len(images.sizes)
        with np.errstate(divide="ignore"):  # classes without an image
            of_class = np.maximum(1.0, np.sqrt(self.threshold / shares))
        factors = np.ones(len(images.sizes))
        np.maximum.at(factors, owners, of_class[classes])
        length = _repeated_length(factors)
        rare = [label for label in np.argsort(-of_class, kind="stable") if 1 < of_class[label] < math.inf]
        told = ", ".join(f"{images.class_names[label]} {of_class[label]:.3g}" for label in rare[:_SHOWN_FACTORS])
        notes = (
            f"an epoch has {length} images, {length - len(factors)} of them repeats for {len(rare)} rare classes"
            + (f"; repeat factors: {told}" if told else ""),
        )
        return EpochOrders(length, lambda seed, epoch: _repeated(factors, seed, epoch), repeats=True, notes=notes)


@dataclass(frozen=True)
class ClassBalanced:
    """Every class equally often: a class first, then one of the images that have it, with replacement.

    An epoch has as many images as the data set, but they are drawn: an image may come several times or not at all, one
    without objects never comes.

    Source: class-aware sampling, Shen et al. 2016, Relay Backpropagation, section 4.
    """

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``; ConfigError where no image has an object."""
        classes, owners = class_members(images)
        if not len(classes):
            raise ConfigError(
                "sampling=class_balanced cannot choose a class: no image has an object", fix="sampling=uniform"
            )
        counts = np.bincount(classes, minlength=len(images.class_names))
        num_images, present = len(images.sizes), np.flatnonzero(counts)
        starts = np.cumsum(counts) - counts

        def order(seed: int, epoch: int) -> np.ndarray:
            generator = np.random.Generator(np.random.PCG64([seed, epoch, _CLASSES]))
            # Dealt in turn from a shuffled list of classes: counts differ by 1 at the most.
            chosen = generator.permutation(np.resize(generator.permutation(present), num_images))
            return owners[starts[chosen] + generator.integers(counts[chosen])]

        never = num_images - len(np.unique(owners))
        notes = [f"images are drawn for {len(present)} classes in turn; none is sure to come once an epoch"]
        if never:
            notes.append(f"{never} images without objects never come")
        if absent := [name for name, count in zip(images.class_names, counts, strict=True) if not count]:
            notes.append(f"classes without an image: {first_five(absent)}")
        return EpochOrders(num_images, order, repeats=True, notes=tuple(notes))


@checked
@dataclass(frozen=True)
class AspectRatio:
    """Every image exactly once an epoch, in random groups of images of similar shape.

    The stream of images is cut into groups of ``group_size``. With ``group_size = train.batch_size`` a group is an
    optimizer step, and all its images, over ranks and micro-batches, come from one interval of width / height. What is
    left over of the intervals in an epoch fills mixed groups, one less than there are intervals at the most; a group
    across two epochs is of the most frequent shape. The order knows nothing of the number of ranks, nor of the batch
    size once ``group_size`` is given.
    """

    boundaries: Sequence[Above0] = (0.7, 0.9, 1.1, 1.4)  # of width / height, ascending; on a boundary is above it
    group_size: AtLeast1 | None = None  # None: filled in by the builder, with train.batch_size at the start of the run

    def __post_init__(self) -> None:
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(f"sampling.boundaries must be ascending, got {list(self.boundaries)}")

    def orders(self, images: ImageTable) -> EpochOrders:
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


def class_members(images: ImageTable) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(p,)`` labels and ``(p,)`` images: every pair once, sorted by label; crowds do not count."""
    num_images = len(images.sizes)
    owner = np.repeat(np.arange(num_images), np.diff(images.offsets))[~images.crowd]
    pairs = np.unique(images.labels[~images.crowd].astype(np.int64) * num_images + owner)
    return pairs // num_images, pairs % num_images


def _repeated_length(factors: np.ndarray) -> int:
    """Return the images of an epoch: the sum of the factors, rounded up."""
    return int(np.floor(factors).sum()) + math.ceil((factors % 1).sum() - 1e-6)


def _repeated(factors: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return the order of one epoch; image ``i`` comes ``floor(factors[i])`` times or once more.

    Once more with the probability of the fraction, but all together as evenly as can be (systematic sampling on a
    shuffled line), so that an epoch's length is fixed: where the fractions do not sum to a whole number, one image
    drawn evenly stands in for the rounding.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch, _REPEATS]))
    num_images = len(factors)
    whole = np.floor(factors).astype(np.int64)
    line = generator.permutation(num_images)
    ends = np.cumsum((factors % 1)[line]) + generator.random()
    more = line[np.diff(np.floor(ends), prepend=np.floor(ends[0] - (factors % 1)[line[0]])) > 0]
    num_more = _repeated_length(factors) - int(whole.sum())
    fill = generator.integers(num_images, size=max(0, num_more - len(more)))
    return generator.permutation(np.concatenate([np.repeat(np.arange(num_images), whole), more[:num_more], fill]))


def grouped_order(shapes: np.ndarray, *, group_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return ``(n,)`` positions in the data set in the order of ``epoch``, in groups of one of ``shapes`` each.

    Group ``g`` is positions ``g * group_size`` on of the whole stream, so the first of an epoch's images may complete a
    group that the epoch before began.

    ``shapes``: ``(n,)`` whole numbers from 0 on, neighbours being similar.
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
