"""The learning rate: how it follows the batch size, and schedules, which are pure functions of the images seen.

A schedule is called with the images seen BEFORE the step (step ``k`` of batch ``B``, counted from 0: ``k * B``) and
returns the factor on ``optimizer.lr``; so it follows the batch size and needs no state. Lengths are images,
``"2epoch"``, or a fraction of the run (:func:`retina.ranges.length_in_images`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from retina.ranges import Length, Share, ShareAbove0, checked, length_in_images

# A fraction of the run, turned into images, is off by rounding; a step is never less than one image.
_TOLERANCE = 1e-3  # images


@dataclass(frozen=True)
class Schedule(ABC):
    """What all schedules have: a warm-up."""

    warmup: Length = 0
    warmup_factor: Share = 1e-3  # on the learning rate, at the first step

    @abstractmethod
    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        """Return the factor on the base learning rate for the step that starts after ``images_seen``."""

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        """Return what the user should know at the start: parts of the schedule that this run never reaches."""
        images = _images("warmup", self.warmup, run_images, images_per_epoch)
        if images < run_images:
            return []
        return [
            f"schedule.warmup {self.warmup} ({images:,.0f} images) is not over when the run ends after "
            f"{run_images:,} images: the full learning rate is never reached"
        ]


@checked
@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiply the learning rate by ``gamma`` from the image of each of ``drops`` on.

    The defaults are the standard recipe's proportions: 60k and 80k of 90k steps of 16 images.
    """

    drops: Sequence[Length] = (2 / 3, 8 / 9)
    gamma: ShareAbove0 = 0.1
    warmup: Length = 16_000

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        drops = [_images("drops", drop, run_images, images_per_epoch) for drop in self.drops]
        num_drops = sum(images_seen >= drop - _TOLERANCE for drop in drops)
        warmup = _images("warmup", self.warmup, run_images, images_per_epoch)
        return self.gamma**num_drops * linear_warmup(images_seen, warmup, self.warmup_factor)

    def notes(self, *, run_images: int, images_per_epoch: int) -> list[str]:
        drops = [(drop, _images("drops", drop, run_images, images_per_epoch)) for drop in self.drops]
        late = [f"{drop} ({images:,.0f} images)" for drop, images in drops if images >= run_images - _TOLERANCE]
        notes = super().notes(run_images=run_images, images_per_epoch=images_per_epoch)
        if late:
            notes.insert(0, f"schedule.drops {', '.join(late)} not reached: the run ends after {run_images:,} images")
        return notes


@checked
@dataclass(frozen=True)
class Cosine(Schedule):
    """Lower the learning rate along half a cosine over the whole run, from 1 to ``final_factor``, which then stays.

    Source: Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts.
    """

    warmup: Length = 0.05
    final_factor: Share = 0.01

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        warmup = _images("warmup", self.warmup, run_images, images_per_epoch)
        factor = _cosine(1.0, self.final_factor, images_seen / run_images)
        return factor * linear_warmup(images_seen, warmup, self.warmup_factor)


@checked
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Rise from ``warmup_factor`` to 1 over ``warmup``, then fall to ``final_factor``, both along half a cosine.

    Source: Smith & Topin 2018, Super-Convergence; as ``torch.optim.lr_scheduler.OneCycleLR``, whose factors are 1 / 25
    at the start and 1 / 10,000 of the start at the end. The momentum is not cycled.
    """

    warmup: Length = 0.3
    warmup_factor: Share = 0.04
    final_factor: Share = 1e-4

    def __call__(self, images_seen: float, *, run_images: int, images_per_epoch: int) -> float:
        warmup = _images("warmup", self.warmup, run_images, images_per_epoch)
        if images_seen < warmup:
            return _cosine(self.warmup_factor, 1.0, images_seen / warmup)
        return _cosine(1.0, self.final_factor, (images_seen - warmup) / max(run_images - warmup, 1.0))


def linear_warmup(images_seen: float, warmup: float, warmup_factor: float) -> float:
    """Return the factor that rises linearly from ``warmup_factor`` to 1 over ``warmup`` images.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, sec. 2.2; detectron2's ``WarmupMultiStepLR``.
    """
    if images_seen >= warmup:
        return 1.0
    done = images_seen / warmup
    return warmup_factor * (1 - done) + done


def scaled_lr(lr: float, lr_batch_size: int | None, batch_size: int) -> float:
    """Return the learning rate for steps of ``batch_size`` images, given the one for ``lr_batch_size`` (None: for all).

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, sec. 2.1 (linear scaling rule).
    """
    return lr if lr_batch_size is None else lr * batch_size / lr_batch_size


def describe_scaling(lr: float, lr_batch_size: int | None, batch_size: int, run_images: int) -> str:
    """Return a sentence on what the batch size makes of the learning rate and of the number of steps."""
    steps = _count(math.ceil(run_images / batch_size))
    if lr_batch_size is None:
        return f"lr {lr:g}, not scaled with the batch; {steps} steps @{batch_size}"
    if lr_batch_size == batch_size:
        return f"lr {lr:g} @{batch_size}; {steps} steps @{batch_size}"
    rates = f"lr {lr:g} @{lr_batch_size} -> {scaled_lr(lr, lr_batch_size, batch_size):g} @{batch_size}"
    recipe_steps = _count(math.ceil(run_images / lr_batch_size))
    return f"{rates}; {recipe_steps} steps @{lr_batch_size} -> {steps} @{batch_size}"


def _count(number: int) -> str:
    return f"{number // 1000:,}k" if number >= 1000 and number % 1000 == 0 else f"{number:,}"


def _images(name: str, length: float | str, run_images: int, images_per_epoch: int) -> float:
    setting = f"schedule.{name}"
    return length_in_images(length, run_images=run_images, images_per_epoch=images_per_epoch, setting=setting)


def _cosine(start: float, end: float, done: float) -> float:
    """Return the value ``done`` (0..1, cut off there) of the way from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
