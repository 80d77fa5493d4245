"""The scalars of a run as frozen dataclasses: their types and ranges; configs/train.yaml says what they mean.

Free of torch and of Hydra, so that a mistake on the command line is told before either is imported. The defaults are
those of configs/train.yaml, held equal by a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from retina.ranges import (
    Above0,
    AtLeast,
    AtLeast0,
    AtLeast1,
    AtMost,
    Count,
    Every,
    IsLength,
    NotEmpty,
    ShareAbove0,
    ShareBelow1,
    checked,
    in_epochs,
)

Precision = Literal["auto", "float32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Interval:
    """How often something happens: every so many optimizer steps, or every so many epochs."""

    steps: int = 0  # 0: never, unless epochs are given
    epochs: float | None = None

    @classmethod
    def parse(cls, value: int | str) -> Interval:
        """Read ``500`` (optimizer steps), ``"1epoch"``, or 0, which means never; the setting is checked already."""
        epochs = in_epochs(value)
        return cls(int(value)) if epochs is None else cls(epochs=epochs)

    def crossed(self, step: int, images_before: int, images_now: int, images_per_epoch: int) -> bool:
        """Return whether the optimizer step that ended at ``step`` images reached the next occasion."""
        if self.epochs is not None:
            every = self.epochs * images_per_epoch
            return math.floor(images_now / every + 1e-9) > math.floor(images_before / every + 1e-9)
        return bool(self.steps and step % self.steps == 0)


@checked
@dataclass(frozen=True)
class DatasetSettings:
    """How much of the training split is used; what opens the data set stands in the same section."""

    fraction: ShareAbove0 = 1.0
    fraction_seed: Count = 0


@checked
@dataclass(frozen=True)
class ImageSettings:
    """Resize by min(short_side / short, long_side / long), as the field does since Fast R-CNN."""

    short_side: AtLeast1 = 800
    long_side: Annotated[int, AtLeast("short_side")] = 1333
    multi_scale: Annotated[Sequence[Annotated[int, AtLeast(1), AtMost("long_side")]], NotEmpty()] | None = None
    reduced_decoding: bool = True

    @property
    def one_size(self) -> dict[str, Any]:
        """The settings of the resize to the one size of evaluation."""
        return {name: getattr(self, name) for name in ("short_side", "long_side", "reduced_decoding")}

    @property
    def training_sizes(self) -> list[tuple[int, int]]:
        """(short side, long side) of the sizes that training draws from; empty: it has one size."""
        return [(side, self.long_side) for side in self.multi_scale or ()]


@checked
@dataclass(frozen=True)
class TrainSettings:
    """The training run. The earliest of ``epochs``, ``max_steps`` and ``max_images`` ends it and its schedule."""

    epochs: Above0 | None = None
    max_steps: AtLeast1 | None = None
    max_images: AtLeast1 | None = None
    batch_size: AtLeast1 = 16
    accumulate: AtLeast1 = 1
    workers: Count | None = None
    precision: Precision = "auto"
    device: Device = "auto"
    channels_last: bool = True
    compile: bool = False
    seed: Count = 0
    max_grad_norm: Above0 | None = None
    ema_decay: ShareBelow1 | None = None
    patience: AtLeast1 | None = None
    check_data: Literal["fast", "full", "none"] = "fast"


@checked
@dataclass(frozen=True)
class CheckpointSettings:
    """When ``last.pt`` is written, besides the end of the run."""

    every: Every = "1epoch"


@checked
@dataclass(frozen=True)
class EvalSettings:
    """The evaluations during training."""

    every: Every = "1epoch"
    split: SplitName = "val"
    batch_size: AtLeast1 = 8
    num_pictures: Count = 6


@checked
@dataclass(frozen=True)
class LogSettings:
    """When scalars are written to the console, metrics.jsonl and TensorBoard, and when the losses are looked at."""

    every: Every = 20
    focal_every: Every = 0


@checked
@dataclass(frozen=True)
class LossSettings:
    """What concerns both losses; each of them is built from a section of its own."""

    focal_gamma: AtLeast0 | None = None


@checked
@dataclass(frozen=True)
class AugmentSettings:
    """When the augmentation of a run gives way to another one; what builds it stands in the same section."""

    until: Annotated[float | str, IsLength(from_end=True)] | None = None
    afterwards: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """All scalars of a training run."""

    image: ImageSettings = field(default_factory=ImageSettings)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    log: LogSettings = field(default_factory=LogSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    run_dir: str | None = None
    resume: str | None = None


def resolve_norm(norm: str, weights: str | None) -> str:
    """Return the norm that ``auto`` means: frozen batch norm with pretrained weights, else batch norm."""
    return norm if norm != "auto" else "frozen_bn" if weights else "bn"
