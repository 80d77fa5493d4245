"""Images that cannot be used in training: another one stands in, each is named once, too many of them end the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from retina.data.dataset import DetectionDataset
from retina.data.images import Shrink
from retina.data.samplers import epoch_order
from retina.errors import DataError, first_five
from retina.structures import Batch, Sample

# Few bad files in a large collection are the rule; more are a folder that is gone, or another data set.
MAX_SHARE = 0.01  # of the images of the data set
MAX_COUNT = 50


@dataclass
class BadImages:
    """What the batches of a run said of images that others had to stand in for.

    Every rank notes what its own batches say; :meth:`agree` gives all of them the same list at the same step.
    """

    num_images: int = 0  # of the training data; at least one bad image is tolerated
    known: list[str] = field(default_factory=list)  # of the whole run, in the order in which they were met
    _met: set[str] = field(default_factory=set)  # since this start: a run can be resumed once its images are mended
    _noted: list[str] = field(default_factory=list)  # by this rank since the last :meth:`agree`

    def note(self, batches: Iterable[Batch]) -> None:
        """Keep what the batches of one step say."""
        self._noted += [reason for batch in batches for reason in batch.replaced]

    def take_noted(self) -> list[str]:
        """Return what this rank has to tell the others."""
        noted, self._noted = list(dict.fromkeys(self._noted)), []
        return noted

    def agree(self, told: Sequence[Sequence[str]]) -> list[str]:
        """Join what every rank told and return what nobody knew yet; the same on every rank."""
        reasons = list(dict.fromkeys(reason for rank in told for reason in rank))
        self._met.update(reasons)
        unknown = [reason for reason in reasons if reason not in self.known]
        self.known += unknown
        return unknown

    @property
    def too_many(self) -> bool:
        return len(self._met) >= MAX_COUNT or len(self._met) > max(1, MAX_SHARE * self.num_images)

    def error(self) -> DataError:
        """Return what is told where the run stops."""
        return DataError(
            f"{len(self._met)} of {self.num_images} training images cannot be used: {first_five(sorted(self._met))}",
            why=f"more than {MAX_SHARE:.0%} of the images (one in any case is tolerated), or {MAX_COUNT}, are too many "
            "to train without. Everything is saved; train.log names each of them",
            fix="mend the files, then resume with resume=<run directory>; "
            "python tools/doctor.py dataset=... finds them all",
        )

    def summary(self) -> dict[str, Any]:
        """Return what the manifest keeps."""
        return {"count": len(self.known), "images": list(self.known)}

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"known": list(self.known)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume with the list of a run; what is met again is not told again."""
        self.known = [str(reason) for reason in state.get("known", ())]


class StandIns:
    """The images of a data set in one epoch; in place of one that cannot be used comes the next that can.

    The next in the epoch's random order, which is a function of seed and epoch: whichever process reads the image, for
    whichever sample, meets the same stand-in.
    """

    def __init__(self, dataset: DetectionDataset, *, seed: int, epoch: int) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, epoch
        self.replaced: list[str] = []  # what was wrong with each image that could not be used

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, shrink: Shrink | None = None) -> Sample:
        """Return image ``index``, or the next that can be used, which then says in ``replaced`` what was wrong.

        DataError where ``MAX_COUNT`` images in a row, or all of them, cannot be used.
        """
        try:
            return self.dataset.sample(index, shrink)
        except DataError as error:
            first = error
        reasons = [first.what]
        order = epoch_order(len(self.dataset), seed=self.seed, epoch=self.epoch)
        # A run stops at fewer different ones, so more in a row are not tried.
        for candidate in np.roll(order, -int(np.flatnonzero(order == index)[0]))[1 : 1 + MAX_COUNT]:
            try:
                sample = self.dataset.sample(int(candidate), shrink)
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
