"""The same few images at every evaluation: ground truth beside detections; and the first batch of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from retina.data.dataset import DetectionDataset
from retina.drawing.boxes import draw_boxes, strong
from retina.drawing.labels import Pen
from retina.drawing.sheets import captioned, enlarged, side_by_side
from retina.structures import Batch, BoxTargets, Detections

# Weaker detections hide the picture and are of no use to the eye; the numbers count them all.
MIN_SCORE = 0.3


def evaluation_pictures(
    detections: Mapping[int, Detections], *, dataset: DetectionDataset, count: int, min_score: float = MIN_SCORE
) -> list[np.ndarray]:
    """Return ``count`` images of ``dataset`` with ground truth on the left and detections on the right.

    Images with objects are drawn first, spread evenly over the set; detections weaker than ``min_score`` are not.
    ``detections`` are of every image, by its id, in its own frame.
    """
    pictures = []
    for index in spread_indices(np.diff(dataset.offsets) > 0, count):
        sample = dataset.sample(index)
        found = strong(detections[sample.image_id], min_score)
        pictures.append(ground_truth_beside_detections(sample.image, sample.targets, found, dataset.class_names))
    return pictures


def ground_truth_beside_detections(
    image: np.ndarray, targets: BoxTargets, detections: Detections, class_names: Sequence[str]
) -> np.ndarray:
    """Return two captioned panels side by side: what is there and what was found.

    Boxes of both are in pixels of ``image``; a small image is shown at twice its size.
    """
    image, zoom = enlarged(image)
    crowds = targets.crowd_boxes * zoom
    truth = draw_boxes(image, targets.boxes * zoom, targets.labels, class_names=class_names, crowd_boxes=crowds)
    found = draw_boxes(image, detections.boxes * zoom, detections.labels, detections.scores, class_names=class_names)
    captions = {f"ground truth ({len(targets.boxes)})": truth, f"detections ({len(detections)})": found}
    font_size = Pen.for_image(*image.shape[:2]).font_size
    return side_by_side(*(captioned(panel, text, font_size=font_size) for text, panel in captions.items()))


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
