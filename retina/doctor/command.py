"""doctor: examine the configured data set, write the report, and a corrected copy if asked."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track as rich_track

from retina.anchors.coverage import best_possible_iou
from retina.benchmark.command import Measured, canvas_of, prepare
from retina.benchmark.measure import alternate, peak_memory
from retina.benchmark.speed import Variant
from retina.build import build
from retina.commands.assemble import Sections
from retina.data.checks.images import untracked
from retina.data.coco.file import inspect_coco
from retina.data.transforms.resize import resized_size
from retina.doctor.cases import cases_of, gallery
from retina.doctor.detector_view import Lens
from retina.doctor.examine import Examination, SplitExam, examine
from retina.doctor.fix import write_corrected
from retina.doctor.kinds import SIDES_SWAPPED
from retina.doctor.page import html_page
from retina.doctor.report import as_values, print_report, verdict, write_json
from retina.errors import ConfigError, DataError, first_five
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
    """Examine the data set, print and write the report.

    Raises:
        DataError: something in the data set is an error.
        ConfigError: a split is asked for that the data set does not have.
    """
    examining = settings.doctor
    folder = build(sections["dataset"])
    splits = _splits(folder, examining.splits)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)  # of a file or a pipe nobody knows how wide it is
    track = partial(_tracked, console) if console.is_terminal else untracked
    examination = examine(folder, splits, images=examining.images, lens=build_lens(settings, sections), track=track)
    if examining.speed:
        examination = replace(examination, speed=measure_step(settings, sections, examination))
    out = Path(settings.out or Path("doctor") / folder.name)
    print_report(examination, console)
    fixes = _fix(examination) if settings.fix else {}
    _write(out, examination, examining, fixes)
    console.print(f"\nwritten to {out / 'dataset_report.html'} and dataset_report.json", highlight=False, markup=False,
                  soft_wrap=True)  # fmt: skip
    _end(examination, out)


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
    unknown = [split for split in asked or () if split not in known]
    if unknown or not known:
        raise ConfigError(
            f"data set {folder.name!r} has no split {', '.join(unknown)}" if unknown
            else f"data set {folder.name!r} has no splits",
            fix=f"doctor.splits=[{','.join(known)}]" if known else "dataset.train.images=FOLDER "
            "dataset.train.annotations=FILE",
        )  # fmt: skip
    return list(asked or known)


def _fix(examination: Examination) -> dict[str, Any]:
    """Write corrected copies and return, by split, what was changed and what could not be."""
    fixes = {}
    for split, exam in examination.splits.items():
        file = exam.opened.annotations_file
        if file is None:
            print(f"{split}: nothing is corrected, since its annotations are not in COCO's format")
            continue
        written = write_corrected(file, pixel_sizes=_pixel_sizes(exam), unreadable=_unreadable(exam))
        if written is None:
            print(f"{split}: there is nothing to correct")
            continue
        path, corrected = written
        left = _left(path)
        fixes[split] = {"file": str(path), "changes": dict(corrected.changes), "errors_left": left}
        print(f"{split}: corrected copy written to {path}")
        for sentence in corrected.sentences():
            print(f"  {sentence}")
        if left:
            print(f"  what it still has, which nobody but you can decide: {first_five(left)}")
    return fixes


def _left(path: Path) -> list[str]:
    """Return the errors that a corrected copy still has."""
    return [str(finding) for finding in inspect_coco(path)[1] if finding.fault.severity == "error"]


def _pixel_sizes(exam: SplitExam) -> dict[int, tuple[int, int]]:
    if exam.images is None or exam.dataset is None:
        return {}
    return {int(exam.dataset.image_ids[index]): size for index, size in exam.images.pixel_sizes().items()}


def _unreadable(exam: SplitExam) -> list[int]:
    """Return ids of images that cannot be read, which a wrong size is not."""
    if exam.images is None or exam.dataset is None:
        return []
    sized = {*exam.images.pixel_sizes(), *exam.images.indices(SIDES_SWAPPED)}
    return [int(exam.dataset.image_ids[each.index]) for each in exam.images.seen
            if each.is_bad and each.index not in sized]  # fmt: skip


def _write(out: Path, examination: Examination, settings: ExaminingSettings, fixes: dict[str, Any]) -> None:
    galleries = {split: gallery(exam, settings.num_pictures) for split, exam in examination.splits.items()}
    date = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    command = f"python {' '.join(sys.argv)}"
    page = html_page(examination, cases_of(examination), galleries, command=command, date=date)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "dataset_report.json", {**as_values(examination), "fixes": fixes, "command": command})
        (out / "dataset_report.html").write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"the report cannot be written ({error.strerror}): {out}", fix="out=<a folder>") from None


def _end(examination: Examination, out: Path) -> None:
    errors = [f"{split + ': ' if split else ''}{finding}" for split, finding in examination.findings()
              if finding.kind.severity == "error"]  # fmt: skip
    if errors:
        raise DataError(
            f"the data set {examination.name!r} has {verdict(examination)}: {first_five(errors)}",
            why="training would refuse it",
            fix=f"see {out / 'dataset_report.html'}; fix=true corrects what has one right answer",
        )
    print(f"data set {examination.name!r}: {verdict(examination)}")


def _tracked(console: Console, items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    yield from rich_track(items, description=title, total=total, console=console, transient=True)
