"""A share of a data set's images, drawn once."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from retina.data.annotations import Annotations
from retina.data.dataset import DetectionDataset
from retina.data.findings import Fault, Findings
from retina.data.flat_text import FlatText
from retina.data.samplers import epoch_order


def subset(dataset: DetectionDataset, fraction: float, *, seed: int = 0) -> DetectionDataset:
    """Return ``dataset`` with a random share of its images, in their order, and at least one.

    Of one seed, a smaller share is part of a larger one. How many images are left out stands among the findings, and
    the fingerprint tells the share.

    Args:
        dataset: the whole.
        fraction: in (0, 1].
        seed: which share.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"dataset.fraction must be greater than 0 and at most 1, got {fraction}")
    count = max(1, round(fraction * len(dataset)))
    if count == len(dataset):
        return dataset
    chosen = np.sort(epoch_order(len(dataset), seed=seed, epoch=0)[:count])
    fault = Fault(
        "fraction", "note", "image", "images", f"left out by dataset.fraction={fraction:g} (fraction_seed={seed})"
    )
    findings = Findings(dataset.annotations.source)
    findings.add(fault, count=len(dataset) - count)
    findings.extend(dataset.findings)
    annotations = replace(
        take_images(dataset.annotations, chosen),
        findings=findings.all(),
        fingerprint=hashlib.sha256(dataset.fingerprint.encode() + chosen.tobytes()).hexdigest(),
    )
    return DetectionDataset(
        dataset.images_root,
        annotations,
        name=dataset.name,
        split=dataset.split,
        exif=dataset.exif,
        on_bad_image=dataset.on_bad_image,
    )


def take_images(annotations: Annotations, images: np.ndarray) -> Annotations:
    """Return ``annotations`` of ``images`` (positions, in the order wanted) alone; categories and findings are kept."""
    counts = np.diff(annotations.offsets)[images]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    objects = np.repeat(annotations.offsets[images] - offsets[:-1], counts) + np.arange(offsets[-1])
    return replace(
        annotations,
        image_ids=annotations.image_ids[images],
        file_names=FlatText(annotations.file_names[int(index)] for index in images),
        sizes=annotations.sizes[images],
        boxes=annotations.boxes[objects],
        training_boxes=annotations.training_boxes[objects],
        labels=annotations.labels[objects],
        areas=annotations.areas[objects],
        crowd=annotations.crowd[objects],
        object_ids=annotations.object_ids[objects],
        offsets=offsets,
        cache=None,  # the arrays are no longer those of the folder
    )
