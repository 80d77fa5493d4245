"""The scalars of a run as frozen dataclasses, and lengths of time in images, steps or epochs.

Free of torch and of Hydra, so that a mistake on the command line is told before either is imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Precision = Literal["auto", "float32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
DEVICES: tuple[str, ...] = get_args(Device)
SPLITS = ("train", "val", "test")

_EPOCHS = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*epochs?\s*$")


@dataclass(frozen=True)
class Interval:
    """How often something happens: every so many optimizer steps, or every so many epochs."""

    steps: int | None = None
    epochs: float | None = None

    @classmethod
    def parse(cls, value: int | str, setting: str) -> Interval:
        """Read ``500`` (optimizer steps) or ``"1epoch"``; 0 means never. ``setting`` is named in the error."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(steps=value)
        if isinstance(value, str):
            if value.strip().isdecimal():
                return cls(steps=int(value))
            if (match := _EPOCHS.match(value)) and float(match[1]) > 0:
                return cls(epochs=float(match[1]))
        raise ValueError(f"{setting} must be a number of steps (0 = never) or like '1epoch', got {value!r}")

    def crossed(self, step: int, images_before: int, images_now: int, images_per_epoch: int) -> bool:
        """Tell whether the optimizer step that ended at ``step`` images reached the next occasion."""
        if self.epochs is not None:
            every = self.epochs * images_per_epoch
            return math.floor(images_now / every + 1e-9) > math.floor(images_before / every + 1e-9)
        return bool(self.steps and step % self.steps == 0)


def length_in_images(value: float | int | str, *, run_images: int, images_per_epoch: int, setting: str) -> float:
    """Return a length of training in images.

    Reads ``16000`` (images), ``"2epoch"``, or ``0.75`` (a fraction of the run, below 1), so that a schedule follows
    the batch size and, where it is a fraction, also a longer or shorter run.
    """
    if isinstance(value, str) and (match := _EPOCHS.match(value)):
        return float(match[1]) * images_per_epoch
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value):
        return float(value) * run_images if 0 < value < 1 else float(value)
    raise ValueError(f"{setting} must be images (16000), '2epoch' or a fraction of the run (0.75), got {value!r}")


@dataclass(frozen=True)
class ImageSettings:
    """Resize by min(short_side / short, long_side / long), as the field does since Fast R-CNN."""

    short_side: int = 800
    long_side: int = 1333
    # JPEGs at least twice as large as the largest zoom wants are decoded at 1/2, 1/4 or 1/8. On in configs/train.yaml;
    # off here, because a checkpoint that does not know the setting was trained on whole images.
    reduced_decoding: bool = False
    multi_scale: Sequence[int] | None = None  # short sides, of which training draws one for each optimizer step

    def __post_init__(self) -> None:
        if self.short_side < 1 or self.long_side < self.short_side:
            raise ValueError(
                "image.short_side must be at least 1 and image.long_side at least image.short_side, "
                f"got {self.short_side} and {self.long_side}"
            )
        if self.multi_scale is not None and not all(1 <= side <= self.long_side for side in self.multi_scale or [0]):
            raise ValueError(
                "image.multi_scale must be null or short sides, each at least 1 and at most image.long_side "
                f"({self.long_side}), got {list(self.multi_scale)}"
            )

    @property
    def one_size(self) -> dict[str, Any]:
        """Return the settings of the resize to the one size of evaluation."""
        return {name: getattr(self, name) for name in ("short_side", "long_side", "reduced_decoding")}

    @property
    def training_sizes(self) -> list[tuple[int, int]]:
        """Return (short side, long side) of the sizes that training draws from; empty: it has one size."""
        return [(side, self.long_side) for side in self.multi_scale or ()]


@dataclass(frozen=True)
class TrainSettings:
    """The training run. The earliest of ``epochs``, ``max_steps`` and ``max_images`` ends it and its schedule."""

    epochs: float | None = None
    max_steps: int | None = None
    max_images: int | None = None  # images seen; how a recipe gives "90k steps of 16"
    batch_size: int = 16  # images of one optimizer step, over all ranks and micro-batches
    accumulate: int = 1  # micro-batches of one optimizer step
    workers: int | None = None  # loader processes a rank; 0 loads in the main process; None: as the machine suggests
    precision: str = "auto"
    device: str = "auto"
    channels_last: bool = True
    compile: bool = False  # torch.compile for backbone, pyramid and class subnet; evaluation is not compiled
    seed: int = 0
    max_grad_norm: float | None = None
    ema_decay: float | None = None
    patience: int | None = None  # evaluations without a better AP before the run stops early
    check_data: str = "fast"  # before the first step: fast, full (decodes every image) or none

    def __post_init__(self) -> None:
        check_at_least("train", self, {"batch_size": 1, "accumulate": 1, "workers": 0, "seed": 0})
        for name in ("epochs", "max_steps", "max_images", "max_grad_norm", "patience"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"train.{name} must be null or greater than 0, got {value}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be null or lie in [0, 1), got {self.ema_decay}")
        check_one_of("train.precision", self.precision, PRECISIONS)
        check_one_of("train.device", self.device, DEVICES)
        check_one_of("train.check_data", self.check_data, ("fast", "full", "none"))


@dataclass(frozen=True)
class CheckpointSettings:
    """When ``last.pt`` is written, besides the end of the run."""

    every: int | str = "1epoch"

    def __post_init__(self) -> None:
        Interval.parse(self.every, "checkpoint.every")


@dataclass(frozen=True)
class EvalSettings:
    """The evaluations during training."""

    every: int | str = "1epoch"
    split: str = "val"
    batch_size: int = 8  # images at once a rank
    num_pictures: int = 6  # validation images drawn at each evaluation, always the same ones

    def __post_init__(self) -> None:
        Interval.parse(self.every, "eval.every")
        check_one_of("eval.split", self.split, SPLITS)
        check_at_least("eval", self, {"batch_size": 1, "num_pictures": 0})


@dataclass(frozen=True)
class LogSettings:
    """When scalars are written to the console, metrics.jsonl and TensorBoard, and when the losses are looked at."""

    every: int | str = 20
    focal_every: int | str = 0  # the loss lab's panels of a few validation images

    def __post_init__(self) -> None:
        Interval.parse(self.every, "log.every")
        Interval.parse(self.focal_every, "log.focal_every")


@dataclass(frozen=True)
class RunSettings:
    """All scalars of a training run."""

    image: ImageSettings = field(default_factory=ImageSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    log: LogSettings = field(default_factory=LogSettings)
    run_dir: str | None = None  # None: a new directory below runs/
    resume: str | None = None  # the run directory of the run to go on with


def check_at_least(section: str, settings: object, bounds: dict[str, int]) -> None:
    """Raise a ValueError that names the first of the ``bounds`` that a setting of ``section`` is below."""
    for name, least in bounds.items():
        if getattr(settings, name) is not None and getattr(settings, name) < least:
            setting = f"{section}.{name}".lstrip(".")
            raise ValueError(f"{setting} must be at least {least}, got {getattr(settings, name)}")


def check_one_of(setting: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Raise a ValueError where ``value`` is none of those ``allowed``."""
    if value not in allowed:
        names = ", ".join("null" if name is None else name for name in allowed)
        raise ValueError(f"{setting} must be one of {names}, got {value!r}")
