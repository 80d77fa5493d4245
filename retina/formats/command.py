"""convert_dataset: from any format into any other; what is written, what is said, when nothing is written at all."""

from __future__ import annotations

import mmap
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from retina.build import build
from retina.commands.assemble import Sections
from retina.data.dataset import DetectionDataset
from retina.drawing.tables import format_table, progress
from retina.errors import ConfigError, DataError, first_five
from retina.files import make_folder_atomically
from retina.formats.image_files import IMAGE_SUFFIXES
from retina.formats.writers import WRITERS, ImageRecord
from retina.settings import SplitName

_AREA_TOLERANCE = 0.5  # square pixels: below this an area is that of the box


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
    with progress(f"writing {settings.to}", sum(map(len, datasets.values()))) as bar:
        said = convert(
            datasets,
            Path(settings.out).expanduser(),
            to=settings.to,
            images=settings.images,
            whole_pixels=settings.round,
            advance=lambda: bar.advance(bar.task),
        )
    names = next(iter(datasets.values())).class_names
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    rows = [(split, len(each), each.num_objects, int(each.crowd.sum())) for split, each in datasets.items()]
    print(format_table(f"{len(names)} classes: {shown}", ("split", "images", "boxes", "crowds"), rows))
    for text, count in said.items():
        print(f"note: {count} {text}")
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


def convert(
    datasets: Mapping[str, DetectionDataset],
    out: Path,
    *,
    to: str,
    images: Literal["link", "copy", "none"] = "link",
    whole_pixels: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> Counter[str]:
    """Write the splits of one data set in the format ``to`` into the new folder ``out``, whole or not at all.

    Returns what could not be written as it was, in words, with how often. ``images`` are hard links (``link``; copies
    where the file system has none), copies, or none; ``whole_pixels`` rounds VOC's corners; ``advance`` is called after
    each image.

    Raises:
        ConfigError: ``out`` holds something.
        DataError: images are missing, or names cannot be written in the format; nothing was written.
    """
    if out.is_dir() and any(out.iterdir()) or out.exists() and not out.is_dir():
        raise ConfigError(f"out is not an empty folder: {out}", why="nothing is overwritten", fix="out=<a new folder>")
    for dataset in datasets.values():
        _check(dataset, to, with_images=images != "none")

    def records(split: str, dataset: DetectionDataset, folder: Path) -> Iterator[ImageRecord]:
        for index, name in enumerate(dataset.file_names):
            record = ImageRecord.of(dataset, index, writer.place(split, name))
            if images != "none":
                _place_image(dataset.image_file(index), folder / record.place, link=images == "link")
            yield record
            advance()

    said: Counter[str] = Counter()
    try:
        with make_folder_atomically(out) as folder:
            writer = WRITERS[to](folder, next(iter(datasets.values())).class_names, whole_pixels=whole_pixels)
            for split, dataset in datasets.items():
                writer.write_split(split, records(split, dataset, folder), dataset)
                _count_lost(said, dataset, keeps_numbers=writer.keeps_numbers)
            writer.finish(list(datasets))
    except OSError as error:
        raise DataError(f"out cannot be written ({error.strerror}): {out}", fix="out=<a new folder>") from error
    return said + writer.said


def _count_lost(said: Counter[str], dataset: DetectionDataset, *, keeps_numbers: bool) -> None:
    """Count what is in ``dataset`` that the format does not hold."""
    outlines = _count_outlines(dataset.annotations_file)
    said["outlines (segmentation) left out: boxes are converted, nothing else"] += outlines
    if keeps_numbers:
        return
    names = np.array(list(dataset.file_names), dtype=object)
    moved = np.argsort(np.argsort(names, kind="stable")) + 1 != dataset.image_ids
    said["image ids not kept: images are numbered by file name when they are read"] += int(moved.sum())
    changed = sum(number != known for number, known in enumerate(dataset.category_ids, start=1))
    text = "category ids not kept: classes are numbered from 1"
    said[text] = max(said[text], changed)
    different = np.abs(dataset.boxes[:, 2] * dataset.boxes[:, 3] - dataset.areas) > _AREA_TOLERANCE
    said["areas not kept: width x height of the box is taken when they are read"] += int(different.sum())


def _count_outlines(file: Path) -> int:
    """Return how many outlines a COCO file has, without parsing it; 0 for what is no file."""
    if file.suffix != ".json" or not file.is_file():
        return 0
    with file.open("rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        return sum(1 for _ in re.finditer(rb'"segmentation"\s*:\s*[\[{]\s*[^\]\s]', raw))


def _check(dataset: DetectionDataset, to: str, *, with_images: bool) -> None:
    """Refuse names that the format cannot hold (read back they would be others, or not be found) and lost images."""
    if problems := WRITERS[to].unwritable(dataset):
        raise DataError(
            f"names that cannot be written as {to}: {dataset.annotations.source} [{first_five(problems)}]",
            why=f"names with line breaks or spaces at an end are read back as others; images end in "
            f"{', '.join(IMAGE_SUFFIXES)}",
            fix="rename them first, or choose to=coco",
        )
    missing = []
    for index in range(len(dataset)) if with_images else ():
        try:
            dataset.image_file(index)
        except DataError as error:
            missing.append(error.what)
    if missing:
        raise DataError(
            f"images of {dataset.annotations.source} cannot be taken: {first_five(missing)}",
            why="a data set without them would be another one; nothing was written",
            fix="put the images there, or convert the annotations alone: images=none",
        )


def _place_image(source: Path, target: Path, *, link: bool) -> None:
    if target.exists():  # two records of one file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    resolved = os.path.realpath(source)
    if link:
        try:
            os.link(resolved, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(resolved, target)
