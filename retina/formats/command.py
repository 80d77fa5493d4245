"""What ``tools/convert_dataset.py`` does: open the splits, write them in the other format, say what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retina.commands.building import build_node
from retina.data.dataset import DetectionDataset
from retina.drawing.tables import format_table, progress
from retina.errors import ConfigError
from retina.formats.convert import Summary, convert
from retina.formats.writers import WRITERS


def convert_config(config: DictConfig) -> None:
    """Convert the data set of the section ``dataset``."""
    datasets = _open_splits(config)
    total = sum(map(len, datasets.values()))
    with progress(f"writing {config.to}", total) as bar:
        summary = convert(
            datasets,
            Path(config.out).expanduser(),
            to=config.to,
            images=config.images,
            whole_pixels=config.round,
            advance=lambda: bar.advance(bar.task),
        )
    print(_told(summary, datasets))
    opened_by = WRITERS[config.to].opened_by(config.out, list(datasets))
    print(f"\nwritten to {config.out}; to train on it:\n  python train.py {opened_by}")


def _open_splits(config: DictConfig) -> dict[str, DetectionDataset]:
    """Open the splits that are asked for, all of them by default, and say what was found in them."""
    node: Any = OmegaConf.to_container(config.dataset, resolve=True)
    if "_target_" not in node:
        raise ConfigError("from must be given: the format of the data set", fix="from=voc, yolo, csv, coco or custom")
    # Fractions of a data set are of training; here all of it is meant.
    values = {name: value for name, value in node.items() if value is not None and not name.startswith("fraction")}
    folder = build_node(values)
    splits = list(config.splits or folder.splits)
    if not splits:
        raise ConfigError(f"dataset {folder.name!r} has no splits in {config.dataset.root}", fix="dataset.root=FOLDER")
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
