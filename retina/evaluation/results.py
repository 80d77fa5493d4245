"""``metrics.json`` and ``detections.json`` (COCO results format) are written, and the numbers shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retina.drawing.tables import format_table, one_line
from retina.evaluation.coco_metrics import METRIC_NAMES
from retina.files import write_json_atomically


def write_evaluation(
    folder: str | Path, *, metrics: Mapping[str, Any], results: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write ``metrics.json`` and, where given, ``detections.json`` into ``folder``, which is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # JSON has no nan; a diverged validation loss is told as null.
    not_finite = {name for name, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)}
    finite = {name: None if name in not_finite else value for name, value in metrics.items()}
    write_json_atomically(folder / "metrics.json", finite, indent=2)
    if results is not None:
        write_json_atomically(folder / "detections.json", results)


def format_metrics(metrics: Mapping[str, Any], *, max_classes: int = 20) -> str:
    """Return the twelve numbers in two rows of six, the losses where there are any, and AP per class, best first.

    ``-`` stands where there is nothing to measure (COCO's -1): no such boxes in the ground truth.
    """
    half = len(METRIC_NAMES) // 2
    blocks = [
        format_table("", names, [[metrics[name] for name in names]], num_left=0, rule=False)
        for names in (METRIC_NAMES[:half], METRIC_NAMES[half:])
    ]
    losses = {name: value for name, value in metrics.items() if name == "loss" or name.startswith("loss_")}
    if losses:
        told = (f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in losses.items())
        blocks.append("   ".join(told))
    if per_class := metrics.get("per_class"):
        ranked = sorted(per_class, key=lambda entry: -1.0 if entry["AP"] is None else entry["AP"], reverse=True)
        names = ("AP", "AP50", "AP75", "num_boxes", "num_images")
        rows = [[one_line(entry["name"]), *(entry[name] for name in names)] for entry in ranked[:max_classes]]
        more = f"\n... {len(ranked) - max_classes} more in metrics.json" if len(ranked) > max_classes else ""
        blocks.append(format_table("", ["class", *names[:3], "boxes", "images"], rows, rule=False) + more)
    return "\n\n".join(blocks)
