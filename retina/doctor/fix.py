"""A corrected copy of a COCO annotation file beside the old one; nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retina.doctor.corrections import Corrected, correct
from retina.errors import DataError


def fixed_path(file: Path) -> Path:
    """Return where the corrected copy of ``file`` stands: beside it."""
    return file.with_name(f"{file.stem}.fixed{file.suffix}")


def write_corrected(
    file: Path, *, pixel_sizes: Mapping[int, tuple[int, int]], unreadable: Sequence[int]
) -> tuple[Path, Corrected] | None:
    """Write the corrected copy of ``file`` and return where, and what was changed; None where there is nothing to do.

    Args:
        file: an annotation file in COCO's format.
        pixel_sizes: (height, width) of images, by id, whose files have another size than the annotations say.
        unreadable: ids of images that cannot be read.

    Raises:
        DataError: the file is not a JSON object, or there is a corrected copy already.
    """
    target = fixed_path(file)
    if target.exists():
        raise DataError(f"there is a corrected copy already: {target}", why="nothing is ever overwritten",
                        fix="use it, or move it away")  # fmt: skip
    content, changes = _read(file)
    corrected = correct(content, pixel_sizes=pixel_sizes, unreadable=unreadable)
    corrected.changes.update(changes)
    if not corrected.changes:
        return None
    text = json.dumps(corrected.content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        with target.open("xb") as out:
            out.write(text)
    except OSError as error:
        raise DataError(f"the corrected copy cannot be written ({error.strerror}): {target}",
                        fix="make the folder writable, or copy the annotation file elsewhere") from None  # fmt: skip
    return target, corrected


def _read(file: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    changes: dict[str, list[Any]] = {}
    try:
        raw = file.read_bytes()
        if raw.startswith(b"\xef\xbb\xbf"):
            changes["byte order mark taken away"] = [file.name]
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_without_contradiction)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"the annotation file cannot be corrected ({error}): {file}",
            why="what is missing or garbled cannot be known",
            fix="write the file anew",
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"the annotation file cannot be corrected: {file} holds a {type(content).__name__}",
                        fix="give an object with 'images', 'annotations' and 'categories'")  # fmt: skip
    return content, changes


def _without_contradiction(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; a key that is given twice must say the same, since nobody knows which of them is meant."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record and record[key] != value:
            raise ValueError(f"the key {key!r} is given twice with different values")
        record[key] = value
    return record
