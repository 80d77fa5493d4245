"""The same few images at every evaluation: ground truth beside detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina.data.dataset import DetectionDataset
from retina.drawing.boxes import draw_boxes, ground_truth_beside_detections, strong
from retina.evaluation.evaluate import Evaluation
from retina.structures import Batch

# Weaker detections hide the picture and are of no use to the eye; the numbers count them all.
MIN_SCORE = 0.3


def evaluation_pictures(
    evaluation: Evaluation, *, dataset: DetectionDataset, count: int, min_score: float = MIN_SCORE
) -> list[np.ndarray]:
    """Return ``count`` images of ``dataset`` with ground truth on the left and detections on the right.

    Args:
        evaluation: of the whole data set.
        dataset: the images; those with objects are drawn first, spread evenly over the set.
        count: number of pictures, at most the number of images.
        min_score: weaker detections are not drawn.
    """
    pictures = []
    for index in spread_indices(np.diff(dataset.offsets) > 0, count):
        sample = dataset.sample(index)
        found = strong(evaluation.detections[sample.image_id], min_score)
        pictures.append(ground_truth_beside_detections(sample.image, sample.targets, found, dataset.class_names))
    return pictures


def batch_pictures(batch: Batch, class_names: Sequence[str]) -> list[np.ndarray]:
    """Return every image of ``batch`` as the network sees it, padding included, with its boxes."""
    images = batch.images.pixels.permute(0, 2, 3, 1).numpy()
    return [
        draw_boxes(image, targets.boxes, targets.labels, class_names=class_names, crowd_boxes=targets.crowd_boxes)
        for image, targets in zip(images, batch.box_targets, strict=True)
    ]


def spread_indices(preferred: np.ndarray, count: int) -> list[int]:
    """Return ``count`` indices, evenly spread over the ``preferred`` ones; the others only where those run out."""
    chosen = np.flatnonzero(preferred)
    if len(chosen) >= count:
        return [int(chosen[position]) for position in np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    return [int(index) for index in np.concatenate([chosen, np.flatnonzero(~preferred)])[:count]]
