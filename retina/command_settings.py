"""The scalars of ``evaluate.py`` and of the tools as frozen dataclasses; those of a run are in ``retina.settings``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from retina.settings import DEVICES, PRECISIONS, SPLITS, RunSettings, check_at_least, check_one_of

FIT_GOALS = ("iou", "share")  # mean IoU of boxes with their best anchor; share of boxes that reach anchors.positive_iou
_OPTION = re.compile(r"[A-Za-z0-9_][\w-]*", re.ASCII)


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
        check_one_of("split", self.split, (None, *SPLITS))
        check_at_least("", self, {"batch_size": 1, "workers": 0})
        check_one_of("device", self.device, DEVICES)
        check_one_of("precision", self.precision, PRECISIONS)


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
        check_at_least("", self, {"batch_size": 1})
        check_one_of("device", self.device, DEVICES)
        check_one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class MeasuringSettings:
    """What ``tools/benchmark.py`` measures, and how often."""

    num_boxes: int = 10  # objects an image
    num_classes: int = 80
    repeats: int = 5  # of each step, in turn with the others
    memory: bool = True  # also the memory of a step, each in a fresh process

    def __post_init__(self) -> None:
        check_at_least("benchmark", self, {"num_boxes": 1, "num_classes": 1, "repeats": 1})


@dataclass(frozen=True)
class BenchmarkSettings(RunSettings):
    """All scalars of ``tools/benchmark.py``: those of the run that it measures, and its own."""

    benchmark: MeasuringSettings = field(default_factory=MeasuringSettings)


@dataclass(frozen=True)
class ConvertSettings:
    """All scalars of ``tools/convert_dataset.py``."""

    to: str | None = None
    out: str | None = None
    splits: Sequence[str] | None = None  # None: all that the data set has
    images: str = "link"
    round: bool = False  # VOC: whole pixels

    def __post_init__(self) -> None:
        if self.to is None:
            raise ValueError("to must be given: coco, voc, yolo or csv")
        check_one_of("to", self.to, ("coco", "voc", "yolo", "csv"))
        if self.out is None:
            raise ValueError("out must be given: a new folder")
        for split in self.splits or ():
            check_one_of("splits", split, SPLITS)
        check_one_of("images", self.images, ("link", "copy", "none"))


@dataclass(frozen=True)
class DownloadSettings:
    """All scalars of ``tools/download.py``."""

    root: str | None = None  # None: data/<data set>
    parts: Sequence[str] | None = None  # None: all
    year: int = 2012  # of VOC
    keep_archives: bool = False
    retries: int = 8  # in a row without a byte

    def __post_init__(self) -> None:
        check_at_least("", self, {"retries": 0})
        if self.year not in (2007, 2012):
            raise ValueError(f"year must be one of 2007, 2012, got {self.year}")


@dataclass(frozen=True)
class ExaminingSettings:
    """What ``tools/doctor.py`` looks at."""

    splits: Sequence[str] | None = None  # None: all that the data set has
    images: Literal["all", "header", "none"] = "all"
    speed: bool = False  # also time and memory of a training step
    num_pictures: int = 6  # images of each split at the end of the page

    def __post_init__(self) -> None:
        check_one_of("doctor.images", self.images, ("all", "header", "none"))
        for split in self.splits or ():
            check_one_of("doctor.splits", split, SPLITS)
        check_at_least("doctor", self, {"num_pictures": 0})


@dataclass(frozen=True)
class DoctorSettings(RunSettings):
    """All scalars of ``tools/doctor.py``: those of the run that would train on the data set, and its own."""

    doctor: ExaminingSettings = field(default_factory=ExaminingSettings)
    out: str | None = None  # None: doctor/<data set>
    fix: bool = False  # write a corrected copy of each COCO file beside it


@dataclass(frozen=True)
class LossLabSettings:
    """All scalars of ``tools/loss_lab.py``."""

    ckpt: str | None = None  # None: the losses alone
    split: str = "val"
    max_images: int | None = 200  # spread evenly over the split; None: all
    score_threshold: float = 0.3  # of the confusion matrix
    batch_size: int = 4
    workers: int | None = None
    device: str = "auto"
    precision: str = "auto"
    out: str | None = None  # None: loss_lab/ of the run that owns the checkpoint, or loss_lab/

    def __post_init__(self) -> None:
        check_one_of("split", self.split, SPLITS)
        check_at_least("", self, {"max_images": 1, "batch_size": 1, "workers": 0})
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold must lie in [0, 1], got {self.score_threshold}")
        check_one_of("device", self.device, DEVICES)
        check_one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class FitSettings:
    """How ``tools/anchors.py`` looks for anchors that fit a data set."""

    search: bool = True  # False: only report on the present anchors
    goal: str = "iou"
    num_scales: int | None = None  # None: as many as the present anchors have
    num_ratios: int | None = None
    balance_classes: bool = False  # every class counts alike, not every box
    max_boxes: int = 20000  # boxes that the search looks at, drawn by train.seed
    num_pictures: int = 6

    def __post_init__(self) -> None:
        check_one_of("fit.goal", self.goal, FIT_GOALS)
        check_at_least("fit", self, {"num_scales": 1, "num_ratios": 1, "max_boxes": 1, "num_pictures": 0})


@dataclass(frozen=True)
class AnchorsSettings(RunSettings):
    """All scalars of ``tools/anchors.py``: those of the run whose anchors it looks at, and its own."""

    fit: FitSettings = field(default_factory=FitSettings)
    out: str = "anchors_report"  # a folder for the figures, the fitted anchors and pictures
    save_as: str | None = None  # also configs/anchors/<save_as>.yaml

    def __post_init__(self) -> None:
        if self.save_as is not None and not _OPTION.fullmatch(self.save_as):
            raise ValueError(f"save_as must be letters, digits, _ and -, as in anchors=mine, got {self.save_as!r}")


@dataclass(frozen=True)
class ShowBatchSettings(RunSettings):
    """All scalars of ``tools/show_batch.py``: those of the run whose batches it shows, and its own."""

    epoch: int | None = None  # the first batch shown is the first one of this epoch; None: see start
    start: int | None = None  # or the one that comes after so many images of the run; None: the first
    batches: int = 2
    before: bool = False  # also the stored images, beside
    least_side: int = 512  # pixels; smaller pictures are enlarged
    out: str = "batches"  # a folder, or for one batch a .png or .jpg file

    def __post_init__(self) -> None:
        check_at_least("", self, {"epoch": 0, "start": 0, "batches": 1, "least_side": 1})
        if self.epoch is not None and self.start is not None:
            raise ValueError("epoch and start cannot both be given: each says where to begin")
        if self.out.lower().endswith((".png", ".jpg", ".jpeg")) and self.batches != 1:
            raise ValueError(f"batches must be 1 where out is a file, got {self.batches}")
