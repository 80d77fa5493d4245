"""Learning-rate schedules: pure functions of the images seen, so that they follow the batch size and need no state.

Each is called with the images seen BEFORE the step (step ``k`` of batch ``B``, counted from 0: ``k * B``) and returns
the factor on ``optimizer.lr``. Lengths are read by :func:`retina.ranges.length_in_images`: images, ``"2epoch"``, or a
fraction of the run. The warm-up factor is multiplied on whatever the schedule says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from retina.ranges import length_in_images

# A fraction of the run, turned into images, is off by rounding; a step is never less than one image.
_TOLERANCE = 1e-3  # images


class Schedule(Protocol):
    """What the trainer needs of a schedule."""

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        """Return the factor on the base learning rate for the step that starts after ``images_seen``."""
        ...

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        """Return what the user should know at the start: parts of the schedule that this run never reaches."""
        ...


@dataclass(frozen=True)
class MultiStep:
    """Multiply the learning rate by ``gamma`` at each of ``drops``.

    The defaults are the standard recipe's proportions: 60k and 80k of 90k steps of 16 images.
    """

    drops: Sequence[float | str] = (2 / 3, 8 / 9)
    gamma: float = 0.1
    warmup: float | str = 0
    warmup_factor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"schedule.gamma must lie in (0, 1], got {self.gamma}")
        for index, drop in enumerate(self.drops):
            _check_length(drop, f"schedule.drops[{index}]")
        _check_warmup(self.warmup, self.warmup_factor)

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        """Return the factor for the step that starts after ``images_seen``; a drop holds from its image on."""
        length = _lengths(run_images, images_per_epoch)
        num_drops = sum(
            images_seen >= length(drop, f"schedule.drops[{index}]") - _TOLERANCE
            for index, drop in enumerate(self.drops)
        )
        ramp = linear_warmup(images_seen, length(self.warmup, "schedule.warmup"), self.warmup_factor)
        return self.gamma**num_drops * ramp

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        """Return a sentence for drops beyond the end of the run, and one for a warm-up that does not end."""
        length = _lengths(run_images, images_per_epoch)
        late = [
            f"{drop} ({length(drop, 'schedule.drops'):,.0f} images)"
            for drop in self.drops
            if length(drop, "schedule.drops") >= run_images - _TOLERANCE
        ]
        if not late:
            return _warmup_notes(self.warmup, run_images, images_per_epoch)
        dropped = f"schedule.drops {', '.join(late)} not reached: the run ends after {run_images:,} images"
        return [dropped, *_warmup_notes(self.warmup, run_images, images_per_epoch)]


@dataclass(frozen=True)
class Cosine:
    """Lower the learning rate along half a cosine over the whole run, from 1 to ``final_factor``.

    Source: Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts.
    """

    warmup: float | str = 0
    warmup_factor: float = 1e-3
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        _check_factor(self.final_factor, "schedule.final_factor")
        _check_warmup(self.warmup, self.warmup_factor)

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        """Return the factor for the step that starts after ``images_seen``; beyond the run the final one."""
        warmup = _lengths(run_images, images_per_epoch)(self.warmup, "schedule.warmup")
        factor = _cosine(1.0, self.final_factor, images_seen / run_images)
        return factor * linear_warmup(images_seen, warmup, self.warmup_factor)

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        """Return a sentence for a warm-up that does not end within the run."""
        return _warmup_notes(self.warmup, run_images, images_per_epoch)


@dataclass(frozen=True)
class OneCycle:
    """Rise from ``warmup_factor`` to 1 over ``warmup``, then fall to ``final_factor``, both along half a cosine.

    Source: Smith & Topin 2018, Super-Convergence; factors as in ``torch.optim.lr_scheduler.OneCycleLR``
    (1 / 25, then 1 / 10,000 of the start). The momentum is not cycled.
    """

    warmup: float | str = 0.3
    warmup_factor: float = 1 / 25
    final_factor: float = 1 / 250_000

    def __post_init__(self) -> None:
        _check_factor(self.final_factor, "schedule.final_factor")
        _check_warmup(self.warmup, self.warmup_factor)

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        """Return the factor for the step that starts after ``images_seen``; beyond the run the final one."""
        warmup = _lengths(run_images, images_per_epoch)(self.warmup, "schedule.warmup")
        if images_seen < warmup:
            return _cosine(self.warmup_factor, 1.0, images_seen / warmup)
        return _cosine(1.0, self.final_factor, (images_seen - warmup) / max(run_images - warmup, 1.0))

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        """Return a sentence for a rise that does not end within the run."""
        return _warmup_notes(self.warmup, run_images, images_per_epoch)


def linear_warmup(images_seen: float, warmup: float, warmup_factor: float) -> float:
    """Return the factor that rises linearly from ``warmup_factor`` to 1 over ``warmup`` images.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, sec. 2.2; detectron2's ``WarmupMultiStepLR``.
    """
    if images_seen >= warmup:
        return 1.0
    done = images_seen / warmup
    return warmup_factor * (1 - done) + done


def describe_scaling(lr: float, lr_batch_size: int | None, batch_size: int, run_images: int) -> str:
    """Say what the batch size makes of the learning rate and of the number of steps."""
    # Imported here, so that reading a schedule's settings does not import torch.
    from retina.training.optimizers import scaled_lr

    steps = _count(math.ceil(run_images / batch_size))
    if lr_batch_size is None:
        return f"lr {lr:g}, not scaled with the batch; {steps} steps @{batch_size}"
    if lr_batch_size == batch_size:
        return f"lr {lr:g} @{batch_size}; {steps} steps @{batch_size}"
    recipe_steps = _count(math.ceil(run_images / lr_batch_size))
    scaled = scaled_lr(lr, lr_batch_size, batch_size)
    return (
        f"lr {lr:g} @{lr_batch_size} -> {scaled:g} @{batch_size}; "
        f"{recipe_steps} steps @{lr_batch_size} -> {steps} @{batch_size}"
    )


def _cosine(start: float, end: float, done: float) -> float:
    """Return the value ``done`` (0..1, cut off there) of the way from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))


def _count(number: int) -> str:
    return f"{number // 1000:,}k" if number >= 1000 and number % 1000 == 0 else f"{number:,}"


def _lengths(run_images: int, images_per_epoch: int) -> Callable[[float | str, str], float]:
    if run_images < 1 or images_per_epoch < 1:
        raise ValueError(f"run_images and images_per_epoch must be at least 1, got {run_images} and {images_per_epoch}")

    def length(value: float | str, setting: str) -> float:
        return length_in_images(value, run_images=run_images, images_per_epoch=images_per_epoch, setting=setting)

    return length


def _warmup_notes(warmup: float | str, run_images: int, images_per_epoch: int) -> list[str]:
    images = _lengths(run_images, images_per_epoch)(warmup, "schedule.warmup")
    if images < run_images:
        return []
    return [
        f"schedule.warmup {warmup} ({images:,.0f} images) is not over when the run ends after {run_images:,} images: "
        "the full learning rate is never reached"
    ]


def _check_warmup(warmup: float | str, warmup_factor: float) -> None:
    _check_length(warmup, "schedule.warmup")
    _check_factor(warmup_factor, "schedule.warmup_factor")


def _check_length(value: float | str, setting: str) -> None:
    length_in_images(value, run_images=1, images_per_epoch=1, setting=setting)


def _check_factor(value: float, setting: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{setting} must lie in [0, 1], got {value}")
