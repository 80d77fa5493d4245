"""What ``tools/show_batch.py`` does: the batches of a training run, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import DictConfig

from retina.commands.building import Machine, build_assigner, build_data_folder, run_settings
from retina.commands.loading import epoch_orders, open_training_data, train_loader_maker
from retina.data.dataset import DetectionDataset
from retina.detection.assign import Assigner
from retina.drawing.sheets import batch_panels, contact_sheet, side_by_side, stored_panel
from retina.errors import ConfigError
from retina.structures import Batch
from retina.training.progress import RunLength

_JPEG_QUALITY = 85


def show_batches(config: DictConfig) -> Iterator[str]:
    """Write a picture of each batch and yield a line about each.

    Raises:
        ConfigError: the pictures cannot be written.
        DataError: as opening the data set and reading images raise it.
    """
    run = run_settings(config)
    dataset = open_training_data(config, build_data_folder(config.dataset))
    assigner = build_assigner(config.anchors)
    orders = epoch_orders(config, dataset)
    length = RunLength.from_settings(run.train, orders.length)
    # Pictures are made on the CPU, whatever the run would train on.
    machine = Machine(torch.device("cpu"), "float32")
    start = config.start or (config.epoch or 0) * length.images_per_epoch
    make_loader = train_loader_maker(config, run, dataset, assigner, machine, length, orders=orders)
    for number, batch in enumerate(islice(make_loader(start), config.batches)):
        picture = draw_batch(batch, dataset, assigner, before=config.before, least_side=config.least_side)
        path = _write(picture, config.out, number)
        images_seen = start + number // run.train.accumulate * run.train.batch_size
        yield f"{path}: {len(batch)} images, {batch.targets.num_positives} positive anchors, after {images_seen} images"
        yield from (f"  left out: {reason}" for reason in batch.replaced)


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
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        path = path / f"batch-{number}.png"
    quality = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = cv2.imencode(path.suffix, picture[..., ::-1], quality)[1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ConfigError(f"cannot write out={out}: {error.strerror}", fix="out=<a folder or a file>") from error
    return path
