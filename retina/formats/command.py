"""convert_dataset: open the splits, write them in the other format, say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retina.build import build
from retina.commands.assemble import Sections
from retina.data.dataset import DetectionDataset
from retina.drawing.tables import format_table, progress
from retina.errors import ConfigError
from retina.formats.convert import Summary, convert
from retina.formats.writers import WRITERS
from retina.settings import SplitName


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
    with progress(f"writing {settings.to}", total) as bar:
        summary = convert(
            datasets,
            Path(settings.out).expanduser(),
            to=settings.to,
            images=settings.images,
            whole_pixels=settings.round,
            advance=lambda: bar.advance(bar.task),
        )
    print(_told(summary, datasets))
    opened_by = WRITERS[settings.to].opened_by(settings.out, list(datasets))
    print(f"\nwritten to {settings.out}; to train on it:\n  python train.py {opened_by}")


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
            print(f"{split}: {finding.fault.severity}: {finding}")
    return datasets


def _told(summary: Summary, datasets: dict[str, DetectionDataset]) -> str:
    columns = ("split", "images", "boxes", "crowds")
    rows = [(split, summary.images[split], summary.objects[split], summary.crowds[split]) for split in datasets]
    names = next(iter(datasets.values())).class_names
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    lines = [format_table(f"{len(names)} classes: {shown}", columns, rows)]
    lines += [f"note: {count} {text}" for text, count in summary.said.items() if count]
    return "\n".join(lines)
