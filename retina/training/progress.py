"""Where a run stands, and where it ends."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from retina.errors import ConfigError
from retina.settings import TrainSettings


@dataclass
class Progress:
    """What resuming needs besides tensors. A step is always an optimizer step."""

    step: int = 0  # updates made; an update that was skipped does not count
    position: int = 0  # images taken from the endless stream of the sampler, skipped updates included
    best_ap: float = -1.0
    best_step: int = 0
    evaluations_without_gain: int = 0
    evaluated_step: int = -1

    def state_dict(self) -> dict[str, int | float]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, int | float]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name in asdict(self):
            setattr(self, name, state[name])


@dataclass(frozen=True)
class RunLength:
    """The end of a run, counted in steps, images and epochs."""

    num_steps: int
    batch_size: int  # images of one step
    images_per_epoch: int

    @classmethod
    def from_settings(cls, settings: TrainSettings, images_per_epoch: int) -> RunLength:
        """Return the earliest of the ends that ``train.epochs``, ``train.max_steps`` and ``train.max_images`` set."""
        ends = []
        if settings.max_steps is not None:
            ends.append(settings.max_steps)
        if settings.max_images is not None:
            ends.append(math.ceil(settings.max_images / settings.batch_size))
        if settings.epochs is not None:
            ends.append(math.ceil(settings.epochs * images_per_epoch / settings.batch_size - 1e-9))
        if not ends:
            raise ConfigError(
                "nothing says when the training ends",
                fix="set train.epochs, train.max_steps or train.max_images",
            )
        return cls(max(1, min(ends)), settings.batch_size, images_per_epoch)

    @property
    def num_images(self) -> int:
        """Return the images of the whole run."""
        return self.num_steps * self.batch_size

    @property
    def num_epochs(self) -> float:
        """Return how often the run sees each image."""
        return self.num_images / self.images_per_epoch

    def images_seen(self, step: int) -> int:
        """Return the images behind ``step`` updates: what the schedule is a function of."""
        return step * self.batch_size

    def epoch(self, step: int) -> int:
        """Return the number of epochs completed at ``step``."""
        return self.images_seen(step) // self.images_per_epoch
