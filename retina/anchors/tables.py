"""What anchors do for a data set as tables in plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina.drawing.tables import format_table, one_line

_COLUMNS = ("boxes", "reached", "between", "below", "mean IoU", "positives", "lost")
MAX_CLASSES = 20


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
    levels = [
        (
            f"stride {level['stride']}",
            f"{level['least_side']:.0f}-{level['greatest_side']:.0f}",
            level["best_of_boxes"],
            level["positives"],
            _share(level["share"]),
        )
        for level in report["levels"]
    ]
    text.append(format_table("", ("level", "sides, px", "best for boxes", "positive anchors", "share"), levels))
    return "\n\n".join(text)


def format_comparison(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return one table of rows named ``train before``, ``train after`` and so on."""
    cells = [_cells(report["all"], name) for name, report in rows]
    return format_table("before and after", ("objects", *_COLUMNS), cells)


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
