"""Training goes on where an image cannot be used: another one stands in, the same in every process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retina.data.dataset import DetectionDataset
from retina.data.images import Shrink
from retina.data.samplers import epoch_order
from retina.errors import DataError
from retina.structures import Sample

# A run stops at fewer different ones (retina/data/bad_images.py), so more in a row are not tried.
MAX_IN_A_ROW = 50


class StandIns:
    """The images of a data set in one epoch; in place of one that cannot be used comes the next that can.

    The next in the epoch's random order, which is a function of seed and epoch: whichever process reads the image, for
    whichever sample, meets the same stand-in.
    """

    def __init__(self, dataset: DetectionDataset, *, seed: int, epoch: int) -> None:
        """Args: ``seed`` and ``epoch`` of the random order."""
        self.dataset, self.seed, self.epoch = dataset, seed, epoch
        self.replaced: list[str] = []  # what was wrong with each image that could not be used

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, shrink: Shrink | None = None) -> Sample:
        """Return image ``index``, or the next that can be used, which then says in ``replaced`` what was wrong.

        Raises:
            DataError: more than ``MAX_IN_A_ROW`` images in a row, or all of them, cannot be used.
        """
        try:
            return self.dataset.sample(index, shrink)
        except DataError as error:
            first = error
        reasons = [first.what]
        for candidate in self._after(index):
            try:
                sample = self.dataset.sample(candidate, shrink)
            except DataError as error:
                reasons.append(error.what)
                continue
            self.replaced += reasons
            return replace(sample, replaced=tuple(reasons))
        raise DataError(
            f"{first.what}; nor can the next {len(reasons) - 1} images be used",
            why=first.why or "another image would have stood in for a single one",
            fix=first.fix,
        ) from first

    def _after(self, index: int) -> list[int]:
        """Return the images that follow ``index`` in the epoch's order, around its end."""
        order = epoch_order(len(self.dataset), seed=self.seed, epoch=self.epoch)
        place = int(np.flatnonzero(order == index)[0])
        return [int(candidate) for candidate in np.roll(order, -place)[1 : 1 + MAX_IN_A_ROW]]
