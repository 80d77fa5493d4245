"""A file in COCO's results format: read, checked at the border, scored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retina.data.dataset import DetectionDataset
from retina.data.findings import in_short
from retina.errors import ConfigError, DataError, first_five
from retina.evaluation.coco_metrics import coco_metrics

REQUIRED = ("image_id", "category_id", "bbox", "score")
_FIX = 'give a list of {"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.236}'


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
    path = Path(detections)
    entries = _read_list(path)
    mistakes = [f"entry {i} {mistake}" for i, entry in enumerate(entries) if (mistake := _mistake(entry))]
    if mistakes:
        raise DataError(
            f"{len(mistakes)} of {len(entries)} detections cannot be used: {path} [{first_five(mistakes)}]",
            why="every entry needs the ids of its image and category, a box and a score",
            fix=_FIX,
        )
    _check_ids(path, entries, "image_id", {image["id"] for image in ground_truth["images"]})
    _check_ids(path, entries, "category_id", {category["id"] for category in ground_truth["categories"]})
    return coco_metrics(ground_truth, entries)


def _read_list(path: Path) -> list[Any]:
    if not path.is_file():
        why, fix = "detections= names a COCO results file", "detections=<file.json>"
        raise ConfigError(f"no such file: {path}", why=why, fix=fix)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not a JSON file: {path}", why=str(error), fix=_FIX) from error
    if not isinstance(entries, list):
        found = f"an object with the keys {first_five(list(entries))}" if isinstance(entries, dict) else repr(entries)
        raise DataError(f"not a list of detections, but {found}: {path}", fix=_FIX)
    return entries


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
    unknown = [(entry[key], i) for i, entry in enumerate(entries) if entry[key] not in known]
    if unknown:
        first_places = dict(reversed(unknown))
        cases = [f"{key} {value} (entry {first_places[value]})" for value in dict(unknown)]
        raise DataError(
            f"the {key} of {len(unknown)} of {len(entries)} detections is not in the annotations: "
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
