"""Where a run stands, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from retina.errors import CheckpointError, ConfigError, first_five
from retina.settings import TrainSettings


@dataclass
class Progress:
    """What resuming needs besides tensors. A step is always an optimizer step."""

    step: int = 0  # updates made; an update that was skipped does not count
    images: int = 0  # images behind these updates
    position: int = 0  # images taken from the endless stream of the sampler, skipped updates included
    best_ap: float = -1.0
    best_step: int = 0
    evaluations_without_gain: int = 0
    evaluated_step: int = -1

    def state_dict(self) -> dict[str, int | float]:
        """Return plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int | float]) -> None:
        """Resume from what :meth:`state_dict` returned; CheckpointError where something is missing."""
        if missing := [name for name in asdict(self) if name not in state]:
            raise CheckpointError(
                f"the checkpoint does not say where the run stood: progress has no {first_five(missing)}",
                why="another version wrote it",
                fix="resume with that version, or start a new run",
            )
        for name in asdict(self):
            setattr(self, name, state[name])


@dataclass(frozen=True)
class RunLength:
    """The length of a run in steps, images and epochs."""

    num_steps: int
    batch_size: int  # images of one step
    images_per_epoch: int
    first_step: int = 0  # made before this start of the run,
    first_images: int = 0  # with these images, in steps of another size perhaps

    @classmethod
    def from_settings(
        cls, settings: TrainSettings, images_per_epoch: int, *, done: Progress | None = None
    ) -> RunLength:
        """Return the earliest of the ends that ``train.epochs``, ``train.max_steps`` and ``train.max_images`` set.

        ``done`` is where a run that is resumed stands, so that it may be resumed with another batch size.
        """
        done = done or Progress()
        ends = [] if settings.max_steps is None else [settings.max_steps]
        for images in (settings.max_images, settings.epochs and settings.epochs * images_per_epoch):
            if images is not None:
                ends.append(done.step + math.ceil((images - done.images) / settings.batch_size - 1e-9))
        if not ends:
            fix = "set train.epochs, train.max_steps or train.max_images"
            raise ConfigError("nothing says when the training ends", fix=fix)
        # A run that is past its end ends where it stands.
        return cls(max(1, done.step, min(ends)), settings.batch_size, images_per_epoch, done.step, done.images)

    @property
    def num_images(self) -> int:
        return self.images_seen(self.num_steps)

    @property
    def num_epochs(self) -> float:
        return self.num_images / self.images_per_epoch

    def images_seen(self, step: int) -> int:
        """Return the images behind ``step`` updates: what the schedule is a function of."""
        return self.first_images + (step - self.first_step) * self.batch_size

    def epoch(self, step: int) -> int:
        """Return the number of epochs completed at ``step``."""
        return self.images_seen(step) // self.images_per_epoch
