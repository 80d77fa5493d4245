"""What an augmentation that mixes images is, and what it may use besides the image that it starts from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retina.data.transforms.resize import resize_scale, resized_size
from retina.structures import Sample


class Others:
    """Further images of the data set in an order that depends on the key alone; each but ``index`` comes once."""

    def __init__(self, index: int, num_images: int, read: Callable[[int], Sample], rng: np.random.Generator) -> None:
        self._index, self._num_images, self._read, self._rng = index, num_images, read, rng
        self._taken: set[int] = set()  # of the distances from `index`

    def read(self) -> Sample:
        """Return the next image, as large as it was decoded; all over again once each came, `index` if it is alone."""
        if self._num_images == 1:
            return self._read(self._index)
        if len(self._taken) == self._num_images - 1:
            self._taken.clear()
        # Rejection, not a permutation: that of two million images would be drawn for each of them.
        while (distance := 1 + int(self._rng.integers(self._num_images - 1))) in self._taken:
            pass
        self._taken.add(distance)
        return self._read((self._index + distance) % self._num_images)


@dataclass(frozen=True)
class Scene:
    """What a mixing augmentation may use besides the image it starts from."""

    others: Others
    rng: np.random.Generator
    short_side: int  # of the network's input
    long_side: int

    def input_size(self, image: np.ndarray) -> tuple[int, int]:
        """Return (height, width) of ``image`` after the plain resize."""
        return resized_size(*image.shape[:2], short_side=self.short_side, long_side=self.long_side)

    def input_scale(self, image: np.ndarray) -> float:
        """Return the factor of the plain resize of ``image``."""
        return resize_scale(*image.shape[:2], short_side=self.short_side, long_side=self.long_side)


class Mixing(ABC):
    """An augmentation that makes one image of several. With probability ``p`` it is applied."""

    p = 0.5
    max_zoom = 1.0  # how much larger than by the plain resize it can show a pixel; read by max_zoom

    @abstractmethod
    def __call__(self, sample: Sample, scene: Scene) -> Sample:
        """Return ``sample`` mixed with others, with the size of its plain resize."""
