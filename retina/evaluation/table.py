"""The results of an evaluation as a table in plain text, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from retina.evaluation.coco_metrics import METRIC_NAMES

CLASS_COLUMNS = ("AP", "AP50", "AP75")


def format_metrics(metrics: Mapping[str, Any], *, max_classes: int = 20) -> str:
    """Return the twelve numbers in two rows of six, the losses where there are any, and AP per class, best first.

    ``-`` stands where there is nothing to measure (COCO's -1): no such boxes in the ground truth.
    """
    half = len(METRIC_NAMES) // 2
    blocks = [
        _aligned([names, [_number(metrics[name]) for name in names]], left_columns=0)
        for names in (METRIC_NAMES[:half], METRIC_NAMES[half:])
    ]
    losses = {name: value for name, value in metrics.items() if name == "loss" or name.startswith("loss_")}
    if losses:
        blocks.append("   ".join(f"{name} {_number(value)}" for name, value in losses.items()))
    if metrics.get("per_class"):
        blocks.append(_class_table(metrics["per_class"], max_classes))
    return "\n\n".join(blocks)


def _class_table(per_class: Sequence[Mapping[str, Any]], max_classes: int) -> str:
    ranked = sorted(per_class, key=lambda entry: -1.0 if entry["AP"] is None else entry["AP"], reverse=True)
    rows = [["class", *CLASS_COLUMNS, "boxes", "images"]]
    for entry in ranked[:max_classes]:
        numbers = [_number(entry[column]) for column in CLASS_COLUMNS]
        rows.append([_printable(entry["name"]), *numbers, str(entry["num_boxes"]), str(entry["num_images"])])
    more = f"\n... {len(ranked) - max_classes} more in metrics.json" if len(ranked) > max_classes else ""
    return _aligned(rows, left_columns=1) + more


def _aligned(rows: Sequence[Sequence[str]], *, left_columns: int) -> str:
    """Join the cells of ``rows`` in columns; the first ``left_columns`` stand left, numbers right."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            # Not str.ljust: letters of some scripts are two columns wide.
            space = " " * (width - cell_len(cell))
            cells.append(cell + space if column < left_columns else space + cell)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
