"""The figures of a coverage: shares of boxes by overlap with their best anchor, by class, size, level and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retina.anchors.coverage import Coverage, NetworkBoxes
from retina.detection.assign import Assigner

# Source: COCO, cocoeval.py: areas up to 32^2 are small, up to 96^2 medium.
SMALL_AREA, MEDIUM_AREA = 32.0**2, 96.0**2
SIZES = ("small", "medium", "large")


def coverage_report(
    coverage: Coverage, objects: NetworkBoxes, class_names: Sequence[str], assigner: Assigner
) -> dict[str, Any]:
    """Return plain values: ``all``, ``classes``, ``sizes_original``, ``sizes_network``, ``levels`` and ``shapes``.

    A row of boxes has their number, the shares whose best anchor is positive (``reached``), between the thresholds
    and below, the mean best IoU, the mean number of positive anchors, and how many are lost: all of their anchors
    are another object's. Sizes are by the file's areas, and by the box in pixels of the network.
    """
    sides = objects.boxes[:, 2:].astype(np.float64) - objects.boxes[:, :2]

    def row(name: str, chosen: np.ndarray) -> dict[str, Any]:
        return {"name": name, **_figures(coverage, chosen, assigner)}

    def by_size(areas: np.ndarray) -> list[dict[str, Any]]:
        kind = np.searchsorted([SMALL_AREA, MEDIUM_AREA], areas, side="right")
        return [row(name, kind == position) for position, name in enumerate(SIZES)]

    return {
        "all": row("all", np.ones(len(objects), dtype=bool)),
        "classes": [row(name, objects.labels == label) for label, name in enumerate(class_names)],
        "sizes_original": by_size(objects.original_areas),
        "sizes_network": by_size(sides.prod(axis=1)),
        **_by_shape(coverage, assigner),
    }


def _figures(coverage: Coverage, chosen: np.ndarray, assigner: Assigner) -> Mapping[str, Any]:
    iou, positives = coverage.best_iou[chosen], coverage.num_positives[chosen]
    if not len(iou):
        shares = dict.fromkeys(("reached", "between", "below", "mean_iou", "positives_per_box"))
        return {"boxes": 0, **shares, "lost": 0}
    reached = iou >= np.float32(assigner.positive_iou)
    below = iou < np.float32(assigner.negative_iou)
    return {
        "boxes": len(iou),
        "reached": float(reached.mean()),
        "between": float((~reached & ~below).mean()),
        "below": float(below.mean()),
        "mean_iou": float(iou.mean(dtype=np.float64)),
        "positives_per_box": float(positives.mean()),
        "lost": int((positives == 0).sum()),
    }


def _by_shape(coverage: Coverage, assigner: Assigner) -> dict[str, list[dict[str, Any]]]:
    """Return rows of levels, and of shapes within each level."""
    generator, per_cell = assigner.anchors, assigner.anchors.num_per_cell
    boxes = np.bincount(coverage.best_shape[coverage.best_iou > 0], minlength=len(coverage.positives_of_shape))
    total = max(1, int(coverage.positives_of_shape.sum()))
    shapes, levels = [], []
    for level, stride in enumerate(generator.strides):
        sides = (generator.shapes(stride)[:, 2:] - generator.shapes(stride)[:, :2]).tolist()
        first = level * per_cell
        for shape, (width, height) in enumerate(sides, start=first):
            positives = int(coverage.positives_of_shape[shape])
            shapes.append({"stride": int(stride), "width": width, "height": height, "best_of_boxes": int(boxes[shape]),
                           "positives": positives, "share": positives / total})  # fmt: skip
        here = shapes[first:]
        levels.append(
            {
                "stride": int(stride),
                "least_side": min(min(side) for side in sides),
                "greatest_side": max(max(side) for side in sides),
                **{name: sum(row[name] for row in here) for name in ("best_of_boxes", "positives", "share")},
            }
        )
    return {"levels": levels, "shapes": shapes}
