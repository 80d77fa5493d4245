"""Which images an epoch has, and in which order: uniform, by repeat factors, balanced over classes.

Each sampling is a function of the data set, the seed and the epoch alone. (By shape: ``retina.data.sampling_shape``.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from retina.data.samplers import EpochOrders, uniform_orders
from retina.errors import ConfigError, first_five

# Sets these draws apart from the order of a uniform epoch and from each other.
_REPEATS, _CLASSES = 0x4E9, 0xC1A
_SHOWN_FACTORS = 3  # classes whose repeat factor is told


class ImageTable(Protocol):
    """What a sampling reads of a data set; objects of image ``i`` are ``offsets[i]:offsets[i + 1]``."""

    @property
    def sizes(self) -> np.ndarray:
        """Return ``(n, 2)`` heights and widths."""

    @property
    def labels(self) -> np.ndarray:
        """Return ``(m,)`` labels in [0, K)."""

    @property
    def crowd(self) -> np.ndarray:
        """Return ``(m,)`` bool."""

    @property
    def offsets(self) -> np.ndarray:
        """Return ``(n + 1,)`` whole numbers."""

    @property
    def class_names(self) -> Sequence[str]:
        """Return ``(K,)`` names."""


class Sampling(Protocol):
    """A choice of the group ``sampling``."""

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``."""


@dataclass(frozen=True)
class Uniform:
    """Every image exactly once an epoch, in random order."""

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``."""
        return uniform_orders(len(images.sizes))


@dataclass(frozen=True)
class RepeatFactor:
    """Images with rare classes come more often: ``r(i)`` times an epoch on average, and at least once.

    A class that ``f`` of the images have gets ``r = max(1, sqrt(threshold / f))``, an image the largest factor of its
    classes. The fraction of ``r(i)`` is rounded up or down anew in each epoch, so that the mean is exact; an image
    without objects comes once.

    Source: Gupta et al. 2019, LVIS, section 5 (repeat factor sampling).
    """

    threshold: float = 0.001  # the share of the images below which a class is rare; the authors' for 100k images

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"sampling.threshold must be greater than 0 and at most 1, got {self.threshold}")

    def orders(self, images: ImageTable) -> EpochOrders:
        """Return the orders of the epochs of ``images``."""
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
        """Return the orders of the epochs of ``images``.

        Raises:
            ConfigError: no image has an object.
        """
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
