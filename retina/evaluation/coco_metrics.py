"""The twelve COCO numbers and the accuracy of every class, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retina.errors import first_five

# In the order of COCOeval.stats.
METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

# Positions on the last two axes of COCOeval's tables: all areas, 100 detections an image.
ALL_AREAS, MOST_DETECTIONS = 0, 2


def coco_metrics(ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the twelve numbers by ``METRIC_NAMES`` (0..1, None where COCO says -1) and the list ``per_class``.

    Neither argument is changed and nothing is printed. Annotation ids do not matter (pycocotools takes id 0 for
    "no match" and trips over repeated ones, so they are numbered anew).

    Args:
        ground_truth: a COCO instances file as a dict.
        detections: entries of the COCO results format.

    Raises:
        ValueError: detections on images or of categories that the ground truth does not have; pycocotools would
            leave them out without a word.
    """
    _check_known(detections, "image_id", {image["id"] for image in ground_truth["images"]})
    _check_known(detections, "category_id", {category["id"] for category in ground_truth["categories"]})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            # COCO's area is that of the mask; it decides between small, medium and large.
            _indexed(ground_truth, ground_truth["annotations"], own=("area", "iscrowd")),
            _indexed(ground_truth, detections, own=("score",)),
            iouType="bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = zip(METRIC_NAMES, evaluation.stats.tolist(), strict=True)
    stats = {name: None if value == -1 else value for name, value in numbers}
    return {**stats, "per_class": _per_class(ground_truth, evaluation)}


def _check_known(detections: Sequence[Mapping[str, Any]], key: str, known: set[int]) -> None:
    unknown = sorted({entry[key] for entry in detections} - known)
    if unknown:
        raise ValueError(f"detections have {key} {first_five(unknown)}, which the ground truth does not have")


def _indexed(ground_truth: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], *, own: Sequence[str]) -> COCO:
    """Return ``entries`` as COCOeval takes them: numbered anew, with area and iscrowd where these are not their own."""
    # COCO.loadRes would do this for detections, but stops at an empty list and writes into its argument.
    annotations = []
    for number, entry in enumerate(entries, start=1):
        width, height = entry["bbox"][2:]
        kept = {name: entry[name] for name in ("image_id", "category_id", "bbox", *own) if name in entry}
        annotations.append({"id": number, "area": width * height, "iscrowd": 0, **kept})
    coco = COCO()
    coco.dataset = {**{name: ground_truth[name] for name in ("images", "categories")}, "annotations": annotations}
    coco.createIndex()
    return coco


def _per_class(ground_truth: Mapping[str, Any], evaluation: COCOeval) -> list[dict[str, Any]]:
    """Return AP, AP50, AP75 and the counts of each class, ordered by category id; crowds are not counted."""
    precision = evaluation.eval["precision"][:, :, :, ALL_AREAS, MOST_DETECTIONS]  # (thresholds, recalls, K)
    thresholds = evaluation.params.iouThrs
    images_of: dict[int, list[int]] = {category_id: [] for category_id in evaluation.params.catIds}
    for entry in ground_truth["annotations"]:
        if not entry.get("iscrowd", 0):
            images_of[entry["category_id"]].append(entry["image_id"])
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    return [
        {
            "category_id": int(category_id),
            "name": names[category_id],
            "AP": _mean(precision[:, :, k]),
            "AP50": _mean(precision[np.isclose(thresholds, 0.5), :, k]),
            "AP75": _mean(precision[np.isclose(thresholds, 0.75), :, k]),
            "num_boxes": len(images_of[category_id]),
            "num_images": len(set(images_of[category_id])),
        }
        for k, category_id in enumerate(evaluation.params.catIds)
    ]


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
