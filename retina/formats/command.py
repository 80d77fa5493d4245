"""convert_dataset: open the splits, write them in the other format, say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retina.build import build
from retina.commands.assemble import Sections
from retina.data.dataset import DetectionDataset
from retina.drawing.tables import format_table
from retina.errors import ConfigError
from retina.formats.convert import Summary, convert
from retina.settings import SplitName

# How the new data set is given to a command.
_OPENED = {
    "voc": "dataset=voc dataset.root={out}",
    "yolo": "dataset=yolo dataset.root={out}",
    "csv": "dataset=csv dataset.root={out}",
    "coco": "dataset=custom dataset.root={out}",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The scalars of configs/convert_dataset.yaml, which says what they mean."""

    to: Literal["coco", "voc", "yolo", "csv"]
    out: str
    splits: Sequence[SplitName] | None
    images: Literal["link", "copy", "none"]
    round: bool


def run(settings: Settings, sections: Sections) -> None:
    """Convert the data set of the section ``dataset``."""
    datasets = _open_splits(settings, sections)
    total = sum(map(len, datasets.values()))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"writing {settings.to}", total=total)
        summary = convert(
            datasets,
            Path(settings.out).expanduser(),
            to=settings.to,
            images=settings.images,
            whole_pixels=settings.round,
            advance=lambda: progress.advance(task),
        )
    print(_told(summary, datasets))
    command = f"python train.py {_command(settings.to, settings.out, datasets)}"
    print(f"\nwritten to {settings.out}; to train on it:\n  {command}")


def _open_splits(settings: Settings, sections: Sections) -> dict[str, DetectionDataset]:
    """Open the splits that are asked for, all of them by default, and say what was found in them."""
    node = sections.get("dataset", {})
    if "_target_" not in node:
        raise ConfigError("from must be given: the format of the data set", fix="from=voc, yolo, csv, coco or custom")
    # Fractions of a data set are of training; here all of it is meant.
    values = {name: value for name, value in node.items() if value is not None and not name.startswith("fraction")}
    folder = build(values)
    splits = list(settings.splits or folder.splits)
    if not splits:
        raise ConfigError(f"dataset {folder.name!r} has no splits in {node.get('root')}", fix="dataset.root=FOLDER")
    datasets = {split: folder.open(split) for split in splits}
    for split, dataset in datasets.items():
        for finding in dataset.findings:
            print(f"{split}: {finding.kind.severity}: {finding}")
    return datasets


def _told(summary: Summary, datasets: dict[str, DetectionDataset]) -> str:
    columns = ("split", "images", "boxes", "crowds")
    rows = [(split, summary.images[split], summary.objects[split], summary.crowds[split]) for split in datasets]
    names = next(iter(datasets.values())).class_names
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    lines = [format_table(f"{len(names)} classes: {shown}", columns, rows)]
    lines += [f"note: {count} {text}" for text, count in summary.said.items() if count]
    return "\n".join(lines)


def _command(to: str, out: str, datasets: dict[str, DetectionDataset]) -> str:
    given = [_OPENED[to].format(out=out)]
    if to == "coco":
        given += [
            f"dataset.{split}.images={split} dataset.{split}.annotations=annotations/instances_{split}.json"
            for split in datasets
        ]
    return " ".join(given)
