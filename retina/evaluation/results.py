"""``metrics.json`` and ``detections.json`` (COCO results format): read, checked at the border, written, shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from retina.data.dataset import DetectionDataset
from retina.data.findings import in_short
from retina.drawing.tables import format_table, one_line
from retina.errors import ConfigError, DataError, first_five
from retina.evaluation.coco_metrics import METRIC_NAMES, coco_metrics
from retina.files import write_json_atomically

REQUIRED = ("image_id", "category_id", "bbox", "score")
FORMAT = 'a list of {"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.236}'


def evaluate_detections_file(
    detections: str | Path, annotations: str | Path, *, say: Callable[[str], None] = lambda note: None
) -> dict[str, Any]:
    """Return the metrics of a COCO results file against a COCO instances file.

    ``say`` is told what of the annotations was left out or assumed.

    Raises:
        ConfigError: ``detections`` is not there.
        DataError: it is not in the results format, or speaks of images or categories the annotations do not have.
    """
    dataset = DetectionDataset(None, annotations, name=Path(annotations).stem, split="all")
    for line in in_short(dataset.findings):
        say(line)
    ground_truth = dataset.ground_truth()
    entries = read_results(
        detections,
        image_ids={image["id"] for image in ground_truth["images"]},
        category_ids={category["id"] for category in ground_truth["categories"]},
    )
    return coco_metrics(ground_truth, entries)


def read_results(
    path: str | Path, *, image_ids: Collection[int], category_ids: Collection[int]
) -> list[dict[str, Any]]:
    """Return the entries of the COCO results file at ``path``, all of them checked.

    Raises:
        ConfigError: no such file.
        DataError: naming the file, what is wrong and the first five entries (counted from 0) where it is.
    """
    path = Path(path)
    entries = _read_json(path)
    if not isinstance(entries, list):
        found = f"an object with the keys {first_five(list(entries))}" if isinstance(entries, dict) else repr(entries)
        raise DataError(f"not a list of detections, but {found}: {path}", fix=f"give {FORMAT}")
    _check_format(path, entries)
    _check_ids(path, entries, "image_id", set(image_ids))
    _check_ids(path, entries, "category_id", set(category_ids))
    return entries


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


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(
            f"no such file: {path}", why="detections= names a COCO results file", fix="detections=<file.json>"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not a JSON file: {path}", why=str(error), fix=f"give {FORMAT}") from error


def _check_format(path: Path, entries: list[Any]) -> None:
    mistakes = [f"entry {i} {mistake}" for i, entry in enumerate(entries) if (mistake := _mistake(entry))]
    if mistakes:
        raise DataError(
            f"{len(mistakes)} of {len(entries)} detections cannot be used: {path} [{first_five(mistakes)}]",
            why="every entry needs the ids of its image and category, a box and a score",
            fix=f"give {FORMAT}",
        )


def _mistake(entry: Any) -> str | None:
    """Say what is wrong with one entry, or None."""
    if not isinstance(entry, dict):
        return f"is not an object but {entry!r}"
    if missing := [key for key in REQUIRED if key not in entry]:
        return f"has no {' and no '.join(missing)}"
    if not _is_number(entry["score"]):
        return f"has the score {entry['score']!r}"
    for key in ("image_id", "category_id"):
        if not isinstance(entry[key], int) or isinstance(entry[key], bool):
            return f"has the {key} {entry[key]!r}, not a whole number"
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f"has the bbox {box!r}, not four finite numbers"
    if box[2] < 0 or box[3] < 0:
        return f"has a bbox of negative width or height {box!r}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_ids(path: Path, entries: list[dict[str, Any]], key: str, known: set[int]) -> None:
    places: dict[int, int] = {}
    num_unknown = 0
    for i, entry in enumerate(entries):
        if entry[key] not in known:
            num_unknown += 1
            places.setdefault(entry[key], i)
    if places:
        cases = [f"{key} {value} (entry {i})" for value, i in places.items()]
        raise DataError(
            f"the {key} of {num_unknown} of {len(entries)} detections is not in the annotations: "
            f"{path} [{first_five(cases)}]",
            why=f"they could match nothing; the annotations have {_range(known)}",
            fix=f"write the {key} of the annotation file into the results, or give the annotations they belong to",
        )


def _range(known: set[int]) -> str:
    if not known:
        return "none"
    if len(known) <= 5:
        return ", ".join(map(str, sorted(known)))
    return f"{len(known)} from {min(known)} to {max(known)}"
