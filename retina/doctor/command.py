"""doctor: examine the configured data set, write the report, and a corrected copy if asked."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from retina.anchors.coverage import best_possible_iou
from retina.benchmark.command import Measured, canvas_of, prepare
from retina.benchmark.measure import alternate, peak_memory
from retina.benchmark.speed import Variant
from retina.build import build
from retina.commands.assemble import Sections
from retina.data.transforms.resize import resized_size
from retina.doctor.cases import cases_of, gallery
from retina.doctor.detector_view import Lens
from retina.doctor.examine import Examination, examine
from retina.doctor.fix import correct_splits
from retina.doctor.page import html_page
from retina.doctor.report import as_values, print_report, verdict
from retina.errors import ConfigError, DataError, first_five
from retina.files import write_json_atomically
from retina.machine import Machine
from retina.ranges import Count, checked
from retina.settings import RunSettings, SplitName

_SPEED_REPEATS = 3
_PLAIN_WIDTH = 160  # letters


@checked
@dataclass(frozen=True)
class ExaminingSettings:
    """What is looked at."""

    splits: Sequence[SplitName] | None
    images: Literal["all", "header", "none"]
    speed: bool
    num_pictures: Count


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """The scalars of configs/doctor.yaml, which says what they mean."""

    doctor: ExaminingSettings
    out: str | None
    fix: bool


def run(settings: Settings, sections: Sections) -> None:
    """Examine the data set, print and write the report; DataError where something in the data set is an error."""
    examining = settings.doctor
    folder = build(sections["dataset"])
    splits = _splits(folder, examining.splits)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)  # of a file or a pipe nobody knows how wide it is
    examination = examine(folder, splits, images=examining.images, lens=build_lens(settings, sections))
    if examining.speed:
        examination = replace(examination, speed=measure_step(settings, sections, examination))
    out = Path(settings.out or Path("doctor") / folder.name)
    print_report(examination, console)
    fixes = correct_splits(examination) if settings.fix else {}
    _write(out, examination, examining, fixes)
    written = f"\nwritten to {out / 'dataset_report.html'} and dataset_report.json"
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    errors = [
        f"{split + ': ' if split else ''}{finding}"
        for split, finding in examination.findings()
        if finding.fault.severity == "error"
    ]
    if errors:
        raise DataError(
            f"the data set {examination.name!r} has {verdict(examination)}: {first_five(errors)}",
            why="training would refuse it",
            fix=f"see {out / 'dataset_report.html'}; fix=true corrects what has one right answer",
        )
    print(f"data set {examination.name!r}: {verdict(examination)}")


def build_lens(settings: RunSettings, sections: Sections) -> Lens:
    """Return how the configured detector looks at images."""
    generator = build(sections["anchors"], center_heat=False).anchors
    sides = {"short_side": settings.image.short_side, "long_side": settings.image.long_side}
    return Lens(
        resized=lambda height, width: resized_size(height, width, **sides),
        best_iou=partial(best_possible_iou, generator),
        max_detections=sections["postprocess"].get("max_detections", sys.maxsize),
        batch_size=max(1, settings.train.batch_size // settings.train.accumulate),
    )


def measure_step(settings: RunSettings, sections: Sections, examination: Examination) -> dict[str, Any]:
    """Return seconds and memory of a training step of the configured network on noise with as many objects."""
    exam = examination.splits.get("train") or next(iter(examination.splits.values()))
    if exam.dataset is None or exam.view is None:
        raise ConfigError("doctor.speed=true needs a split that can be opened", fix="mend the errors first")
    objects = max(1, round(len(exam.view.boxes) / max(1, len(exam.dataset))))
    measured = Measured(settings, sections, objects, exam.dataset.num_classes)
    machine = Machine.resolve(settings.train.device, settings.train.precision, prefix="train.")
    variant = Variant("train", machine.precision)
    seconds = alternate({"step": prepare(measured, variant)}, repeats=_SPEED_REPEATS, warmup=1)["step"].median
    images = max(1, settings.train.batch_size // settings.train.accumulate)
    return {
        "images": images,
        "canvas": list(canvas_of(settings)),
        "objects_per_image": objects,
        "precision": variant.precision,
        "seconds": seconds,
        "memory_mib": peak_memory(prepare, measured, variant),
        "epoch_minutes": seconds * len(exam.dataset) / images / 60,
    }


def _splits(folder: Any, asked: Sequence[str] | None) -> list[str]:
    known = list(folder.splits)
    if not known:
        fix = "dataset.train.images=FOLDER dataset.train.annotations=FILE"
        raise ConfigError(f"data set {folder.name!r} has no splits", fix=fix)
    if unknown := [split for split in asked or () if split not in known]:
        fix = f"doctor.splits=[{','.join(known)}]"
        raise ConfigError(f"data set {folder.name!r} has no split {', '.join(unknown)}", fix=fix)
    return list(asked or known)


def _write(out: Path, examination: Examination, settings: ExaminingSettings, fixes: dict[str, Any]) -> None:
    galleries = {split: gallery(exam, settings.num_pictures) for split, exam in examination.splits.items()}
    date = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    command = f"python {' '.join(sys.argv)}"
    values = {**as_values(examination), "fixes": fixes, "command": command}
    page = html_page(examination, cases_of(examination), galleries, command=command, date=date)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomically(out / "dataset_report.json", values, indent=1)
        (out / "dataset_report.html").write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"the report cannot be written ({error.strerror}): {out}", fix="out=<a folder>") from None
