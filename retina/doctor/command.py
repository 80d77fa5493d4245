"""What ``tools/doctor.py`` does: examine the configured data set, write the report, and a corrected copy if asked."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from retina.anchors.coverage import best_possible_iou
from retina.benchmark.command import canvas_of, prepare
from retina.benchmark.measure import alternate, peak_memory
from retina.benchmark.speed import Variant
from retina.command_settings import ExaminingSettings
from retina.commands.building import build_assigner, build_data_folder
from retina.data.transforms.resize import resized_size
from retina.doctor.cases import cases_of, gallery
from retina.doctor.detector_view import Lens
from retina.doctor.examine import Examination, examine
from retina.doctor.fix import correct_splits
from retina.doctor.page import html_page
from retina.doctor.report import as_values, print_report, verdict
from retina.drawing.tables import progress
from retina.errors import ConfigError, DataError, first_five
from retina.files import write_json_atomically
from retina.machine import resolve_device_type, resolve_precision

_SPEED_REPEATS = 3
_PLAIN_WIDTH = 160  # letters


def examine_config(config: DictConfig) -> None:
    """Examine the data set of ``config``, print and write the report.

    Raises:
        DataError: something in the data set is an error.
        ConfigError: a split is asked for that the data set does not have.
    """
    settings = ExaminingSettings(**_plain(config.doctor))
    folder = build_data_folder(config.dataset)
    splits = _splits(folder, settings.splits)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)  # of a file or a pipe nobody knows how wide it is
    examination = examine(folder, splits, images=settings.images, lens=build_lens(config), track=_tracked)
    if settings.speed:
        examination = replace(examination, speed=measure_step(config, examination))
    out = Path(config.out or Path("doctor") / folder.name)
    print_report(examination, console)
    fixes = correct_splits(examination) if config.fix else {}
    _write(out, examination, settings, fixes)
    console.print(f"\nwritten to {out / 'dataset_report.html'} and dataset_report.json", highlight=False, markup=False,
                  soft_wrap=True)  # fmt: skip
    _end(examination, out)


def build_lens(config: DictConfig) -> Lens:
    """Return how the configured detector looks at images."""
    generator = build_assigner(config.anchors).anchors
    sides = {"short_side": config.image.short_side, "long_side": config.image.long_side}
    return Lens(
        resized=lambda height, width: resized_size(height, width, **sides),
        best_iou=partial(best_possible_iou, generator),
        max_detections=config.postprocess.get("max_detections", sys.maxsize),
        batch_size=max(1, config.train.batch_size // config.train.accumulate),
    )


def measure_step(config: DictConfig, examination: Examination) -> dict[str, Any]:
    """Return seconds and memory of a training step of the configured network on noise with as many objects."""
    exam = examination.splits.get("train") or next(iter(examination.splits.values()))
    if exam.dataset is None or exam.view is None:
        raise ConfigError("doctor.speed=true needs a split that can be opened", fix="mend the errors first")
    objects = max(1, round(len(exam.view.boxes) / max(1, len(exam.dataset))))
    changed = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    changed.benchmark = {"num_boxes": objects, "num_classes": exam.dataset.num_classes}
    written = OmegaConf.to_yaml(changed)
    device = torch.device(resolve_device_type(config.train.device))
    variant = Variant("train", resolve_precision(config.train.precision, device))
    seconds = alternate({"step": prepare(written, variant)}, repeats=_SPEED_REPEATS, warmup=1)["step"].median
    images = max(1, config.train.batch_size // config.train.accumulate)
    return {
        "images": images,
        "canvas": list(canvas_of(config)),
        "objects_per_image": objects,
        "precision": variant.precision,
        "seconds": seconds,
        "memory_mib": peak_memory(prepare, written, variant),
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


def _end(examination: Examination, out: Path) -> None:
    errors = [f"{split + ': ' if split else ''}{finding}" for split, finding in examination.findings()
              if finding.fault.severity == "error"]  # fmt: skip
    if errors:
        raise DataError(
            f"the data set {examination.name!r} has {verdict(examination)}: {first_five(errors)}",
            why="training would refuse it",
            fix=f"see {out / 'dataset_report.html'}; fix=true corrects what has one right answer",
        )
    print(f"data set {examination.name!r}: {verdict(examination)}")


def _tracked(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    with progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance(bar.task)


def _plain(section: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}
