"""A share of a data set's images, drawn once."""

from __future__ import annotations

import hashlib

import numpy as np

from retina.data.dataset import DetectionDataset
from retina.data.findings import Findings, note
from retina.data.samplers import epoch_order
from retina.ranges import Count, ShareAbove0, checked


@checked
def subset(dataset: DetectionDataset, fraction: ShareAbove0, *, seed: Count = 0) -> DetectionDataset:
    """Return ``dataset`` with a random share of its images, in their order, and at least one.

    Of one seed, a smaller share is part of a larger one. How many images are left out stands among the findings, and
    the fingerprint tells the share.
    """
    count = max(1, round(fraction * len(dataset)))
    if count == len(dataset):
        return dataset
    chosen = np.sort(epoch_order(len(dataset), seed=seed, epoch=0)[:count])
    outcome = f"left out by dataset.fraction={fraction:g} (fraction_seed={seed})"
    findings = Findings(dataset.annotations.source)
    findings.add(note("fraction", "image{s}", outcome=outcome), count=len(dataset) - count)
    findings.extend(dataset.findings)
    fingerprint = hashlib.sha256(dataset.fingerprint.encode() + chosen.tobytes()).hexdigest()
    annotations = dataset.annotations.take(chosen, findings=findings.all(), fingerprint=fingerprint)
    return DetectionDataset(
        dataset.images_root,
        annotations,
        name=dataset.name,
        split=dataset.split,
        exif=dataset.exif,
        on_bad_image=dataset.on_bad_image,
    )
