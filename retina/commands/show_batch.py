"""show_batch: the batches of a training run, drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch

from retina.build import build
from retina.commands.assemble import Sections, epoch_orders, open_training_data, train_loader_maker
from retina.data.dataset import DetectionDataset
from retina.detection.assign import Assigner
from retina.drawing.sheets import batch_panels, contact_sheet, side_by_side, stored_panel
from retina.errors import ConfigError
from retina.machine import Machine
from retina.ranges import AtLeast1, Count, Excludes
from retina.settings import RunSettings
from retina.structures import Batch
from retina.training.progress import RunLength

_JPEG_QUALITY = 85
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """The scalars of configs/show_batch.yaml, which says what they mean."""

    epoch: Count | None
    start: Annotated[Count | None, Excludes("epoch", "each says where to begin")]
    batches: AtLeast1
    before: bool
    least_side: AtLeast1
    out: str


def run(settings: Settings, sections: Sections) -> list[Path]:
    """Write a picture of each batch, print a line about it, and return the files.

    Raises:
        ConfigError: the pictures cannot be written.
        DataError: as opening the data set and reading images raise it.
    """
    if settings.out.lower().endswith(_SUFFIXES) and settings.batches != 1:
        raise ConfigError(f"batches must be 1 where out is a file, got {settings.batches}", fix="batches=1")
    dataset = open_training_data(settings, build(sections["dataset"]))
    assigner = build(sections["anchors"], center_heat=False)
    orders = epoch_orders(sections, settings, dataset)
    length = RunLength.from_settings(settings.train, orders.length)
    # Pictures are made on the CPU, whatever the run would train on.
    machine = Machine(torch.device("cpu"), "float32")
    start = settings.start or (settings.epoch or 0) * length.images_per_epoch
    make_loader = train_loader_maker(sections, settings, dataset, assigner, machine, length, orders=orders)
    written = []
    for number, batch in enumerate(islice(make_loader(start), settings.batches)):
        picture = draw_batch(batch, dataset, assigner, before=settings.before, least_side=settings.least_side)
        written.append(path := _write(picture, settings.out, number))
        seen = start + number // settings.train.accumulate * settings.train.batch_size
        print(f"{path}: {len(batch)} images, {batch.targets.num_positives} positive anchors, after {seen} images")
        for reason in batch.replaced:
            print(f"  left out: {reason}")
    return written


def draw_batch(
    batch: Batch, dataset: DetectionDataset, assigner: Assigner, *, before: bool, least_side: int
) -> np.ndarray:
    """Return the contact sheet of ``batch``; with ``before``, each image as it is stored beside."""
    height, width = batch.images.pixels.shape[-2:]
    rows_and_columns = assigner.anchors.grid_sizes((height, width))
    num_anchors = sum(rows * columns for rows, columns in rows_and_columns) * assigner.anchors.num_per_cell
    panels = batch_panels(batch, dataset.class_names, least_side=least_side, num_anchors=num_anchors)
    if before:
        index_of = {int(image_id): index for index, image_id in enumerate(dataset.image_ids)}
        side = max(height, width)
        stored = [
            stored_panel(dataset.sample(index_of[image_id]), dataset.class_names, least_side=least_side, most_side=side)
            for image_id in batch.image_ids
        ]
        panels = [side_by_side(first, second) for first, second in zip(stored, panels, strict=True)]
    return contact_sheet(panels)


def _write(picture: np.ndarray, out: str, number: int) -> Path:
    path = Path(out)
    if path.suffix.lower() not in _SUFFIXES:
        path = path / f"batch-{number}.png"
    quality = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = cv2.imencode(path.suffix, picture[..., ::-1], quality)[1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ConfigError(f"cannot write out={out}: {error.strerror}", fix="out=<a folder or a file>") from error
    return path
