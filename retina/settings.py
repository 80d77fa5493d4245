"""The scalars of a run as frozen dataclasses, and lengths of time in images, steps or epochs.

Free of torch and of Hydra, so that a mistake on the command line is told before either is imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

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

    def __post_init__(self) -> None:
        if self.short_side < 1 or self.long_side < self.short_side:
            raise ValueError(
                "image.short_side must be at least 1 and image.long_side at least image.short_side, "
                f"got {self.short_side} and {self.long_side}"
            )


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

    def __post_init__(self) -> None:
        _at_least("train", self, {"batch_size": 1, "accumulate": 1, "workers": 0, "seed": 0})
        for name in ("epochs", "max_steps", "max_images", "max_grad_norm", "patience"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"train.{name} must be null or greater than 0, got {value}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be null or lie in [0, 1), got {self.ema_decay}")
        _one_of("train.precision", self.precision, PRECISIONS)
        _one_of("train.device", self.device, DEVICES)


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
        _one_of("eval.split", self.split, SPLITS)
        _at_least("eval", self, {"batch_size": 1, "num_pictures": 0})


@dataclass(frozen=True)
class LogSettings:
    """When scalars are written to the console, metrics.jsonl and TensorBoard."""

    every: int | str = 20

    def __post_init__(self) -> None:
        Interval.parse(self.every, "log.every")


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


@dataclass(frozen=True)
class EvaluateSettings:
    """All scalars of ``evaluate.py``: a checkpoint, or a results file with its annotations."""

    ckpt: str | None = None
    split: str | None = None  # None: val
    detections: str | None = None
    annotations: str | None = None
    run_dir: str | None = None
    batch_size: int = 8
    workers: int | None = None
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.ckpt is not None and self.detections is not None:
            raise ValueError("ckpt and detections cannot both be given: one is a model, the other is its result")
        if self.ckpt is None and self.detections is None:
            raise ValueError("ckpt must be given, or detections and annotations")
        if (self.detections is None) != (self.annotations is None):
            raise ValueError("detections and annotations must be given together")
        if self.detections is not None and self.run_dir is None:
            raise ValueError("run_dir must be given with detections: no run owns a results file")
        _one_of("split", self.split, (None, *SPLITS))
        _at_least("", self, {"batch_size": 1, "workers": 0})
        _one_of("device", self.device, DEVICES)
        _one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class PredictSettings:
    """All scalars of ``tools/predict.py``."""

    ckpt: str | None = None
    source: str | None = None  # an image or a folder of images
    out: str = "predictions"
    score_threshold: float = 0.3  # of the drawing only
    batch_size: int = 1
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.ckpt is None:
            raise ValueError("ckpt must be given")
        if self.source is None:
            raise ValueError("source must be given")
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold must lie in [0, 1], got {self.score_threshold}")
        _at_least("", self, {"batch_size": 1})
        _one_of("device", self.device, DEVICES)
        _one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class MeasuringSettings:
    """What ``tools/benchmark.py`` measures, and how often."""

    num_boxes: int = 10  # objects an image
    num_classes: int = 80
    repeats: int = 5  # of each step, in turn with the others
    memory: bool = True  # also the memory of a step, each in a fresh process

    def __post_init__(self) -> None:
        _at_least("benchmark", self, {"num_boxes": 1, "num_classes": 1, "repeats": 1})


@dataclass(frozen=True)
class BenchmarkSettings(RunSettings):
    """All scalars of ``tools/benchmark.py``: those of the run that it measures, and its own."""

    benchmark: MeasuringSettings = field(default_factory=MeasuringSettings)


def _at_least(section: str, settings: object, bounds: dict[str, int]) -> None:
    for name, least in bounds.items():
        if getattr(settings, name) is not None and getattr(settings, name) < least:
            setting = f"{section}.{name}".lstrip(".")
            raise ValueError(f"{setting} must be at least {least}, got {getattr(settings, name)}")


def _one_of(setting: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        names = ", ".join("null" if name is None else name for name in allowed)
        raise ValueError(f"{setting} must be one of {names}, got {value!r}")
