"""Images that could not be used in training: each named once, and the run stopped where they are too many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retina.errors import DataError, first_five
from retina.structures import Batch

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
        """Return whether the run has to stop."""
        return len(self._met) >= MAX_COUNT or len(self._met) > max(1, MAX_SHARE * self.num_images)

    def error(self) -> DataError:
        """Return what is told where the run stops."""
        return DataError(
            f"{len(self._met)} of {self.num_images} training images cannot be used: {first_five(sorted(self._met))}",
            why=f"more than {MAX_SHARE:.0%} of the images (one in any case is tolerated), or {MAX_COUNT}, are too many "
            "to train without. Everything is saved; train.log names each of them",
            fix="mend the files, then go on with resume=; python tools/doctor.py dataset=... finds them all",
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
