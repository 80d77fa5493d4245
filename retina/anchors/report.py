"""What anchors do for a data set: shares of boxes by overlap with their best anchor, as plain values and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retina.anchors.coverage import Coverage, NetworkBoxes
from retina.detection.assign import Assigner
from retina.drawing.tables import format_table, one_line

# Source: COCO, cocoeval.py: areas up to 32^2 are small, up to 96^2 medium.
SMALL_AREA, MEDIUM_AREA = 32.0**2, 96.0**2
SIZES = ("small", "medium", "large")
MAX_CLASSES = 20  # in the table

_COLUMNS = ("boxes", "reached", "between", "below", "mean IoU", "positives", "lost")


def coverage_report(
    coverage: Coverage, objects: NetworkBoxes, class_names: Sequence[str], assigner: Assigner
) -> dict[str, Any]:
    """Return plain values: ``all``, ``classes``, ``sizes_original``, ``sizes_network``, ``levels`` and ``shapes``.

    A row of boxes has their number, the shares whose best anchor is positive (``reached``), between the thresholds
    and below, the mean best IoU, the mean number of positive anchors, and how many are lost: all of their anchors
    are another object's. Sizes are by the file's areas, and by the box in pixels of the network.
    """

    def row(name: str, chosen: np.ndarray) -> dict[str, Any]:
        return {"name": name, **_figures(coverage.best_iou[chosen], coverage.num_positives[chosen], assigner)}

    def by_size(areas: np.ndarray) -> list[dict[str, Any]]:
        kind = np.searchsorted([SMALL_AREA, MEDIUM_AREA], areas, side="right")
        return [row(name, kind == position) for position, name in enumerate(SIZES)]

    return {
        "all": row("all", np.ones(len(objects), dtype=bool)),
        "classes": [row(name, objects.labels == label) for label, name in enumerate(class_names)],
        "sizes_original": by_size(objects.original_areas),
        "sizes_network": by_size(objects.sides.prod(axis=1)),
        **_by_shape(coverage, assigner),
    }


def _figures(iou: np.ndarray, positives: np.ndarray, assigner: Assigner) -> dict[str, Any]:
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
    best = np.bincount(coverage.best_shape[coverage.best_iou > 0], minlength=len(coverage.positives_of_shape))
    total = max(1, int(coverage.positives_of_shape.sum()))
    counted = zip(best.tolist(), coverage.positives_of_shape.tolist(), strict=True)
    shapes, levels = [], []
    for stride in assigner.anchors.strides:
        sides = (assigner.anchors.shapes(stride)[:, 2:] - assigner.anchors.shapes(stride)[:, :2]).tolist()
        here = []
        for (width, height), (boxes, positives) in zip(sides, counted, strict=False):
            counts = {"best_of_boxes": boxes, "positives": positives, "share": positives / total}
            here.append({"stride": int(stride), "width": width, "height": height, **counts})
        span = {"least_side": min(map(min, sides)), "greatest_side": max(map(max, sides))}
        sums = {name: sum(row[name] for row in here) for name in ("best_of_boxes", "positives", "share")}
        levels.append({"stride": int(stride), **span, **sums})
        shapes += here
    return {"levels": levels, "shapes": shapes}


def format_coverage(title: str, report: Mapping[str, Any], *, max_classes: int = MAX_CLASSES) -> str:
    """Return the tables of one split: by size, by class with the worst first, and by level."""
    classes = sorted((row for row in report["classes"] if row["boxes"]), key=lambda row: row["mean_iou"])
    rows = [_cells(report["all"])]
    rows += [_cells(row, f"{row['name']} (annotated area)") for row in report["sizes_original"]]
    rows += [_cells(row, f"{row['name']} (on the network)") for row in report["sizes_network"]]
    text = [format_table(title, ("objects", *_COLUMNS), rows)]
    text.append(format_table("", ("class", *_COLUMNS), map(_cells, classes[:max_classes])))
    if len(classes) > max_classes:
        text.append(f"... {len(classes) - max_classes} more classes in anchors_report.json")
    levels = []
    for level in report["levels"]:
        sides = f"{level['least_side']:.0f}-{level['greatest_side']:.0f}"
        counts = (level["best_of_boxes"], level["positives"], _share(level["share"]))
        levels.append((f"stride {level['stride']}", sides, *counts))
    text.append(format_table("", ("level", "sides, px", "best for boxes", "positive anchors", "share"), levels))
    return "\n\n".join(text)


def format_comparison(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return one table of rows named ``train before``, ``train after`` and so on."""
    return format_table(
        "before and after", ("objects", *_COLUMNS), [_cells(report["all"], name) for name, report in rows]
    )


def legend(positive_iou: float, negative_iou: float) -> str:
    """Return what the columns mean."""
    return (
        f"reached: IoU with the best anchor is {positive_iou} or more; between: {negative_iou} or more; below: less.\n"
        "positives: anchors that are to find an object; lost: objects without one, as all are another object's."
    )


def _cells(row: Mapping[str, Any], name: str | None = None) -> list[object]:
    label = one_line(name or row["name"])
    if not row["boxes"]:
        return [label, 0, *[None] * (len(_COLUMNS) - 2), 0]
    shares = [_share(row[column]) for column in ("reached", "between", "below")]
    return [label, row["boxes"], *shares, f"{row['mean_iou']:.3f}", f"{row['positives_per_box']:.1f}", row["lost"]]


def _share(value: float) -> str:
    """Return per cent; what is not all or nothing does not look like it."""
    text = f"{100 * value:.1f} %"
    if value < 1 and text == "100.0 %":
        return "> 99.9 %"
    return "< 0.1 %" if value > 0 and text == "0.0 %" else text
