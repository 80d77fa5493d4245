"""Corrected copies of COCO annotation files, each beside its original; nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retina.data.catalogue import IMAGE_SIDES_SWAPPED, IMAGE_WRONG_SIZE
from retina.data.coco.file import inspect_coco
from retina.doctor.corrections import Changes, correct
from retina.doctor.examine import Examination, SplitExam
from retina.errors import DataError, first_five


def correct_splits(examination: Examination) -> dict[str, Any]:
    """Write corrected copies, say so, and return by split what was changed and which errors are left."""
    fixes = {}
    for split, exam in examination.splits.items():
        file = exam.opened.annotations_file
        if file is None:
            print(f"{split}: nothing is corrected, since its annotations are not in COCO's format")
            continue
        pixel_sizes, unreadable = _seen_in_images(exam)
        path, changes = write_corrected(file, pixel_sizes=pixel_sizes, unreadable=unreadable)
        if not changes:
            print(f"{split}: there is nothing to correct")
            continue
        left = [str(finding) for finding in inspect_coco(path)[1] if finding.fault.severity == "error"]
        fixes[split] = {"file": str(path), "changes": changes, "errors_left": left}
        print("\n  ".join([f"{split}: corrected copy written to {path}", *sentences(changes)]))
        if left:
            print(f"  what it still has, which nobody but you can decide: {first_five(left)}")
    return fixes


def _seen_in_images(exam: SplitExam) -> tuple[dict[int, tuple[int, int]], list[int]]:
    """Return, by id, the true sizes of images of another size than said, and the images that cannot be read."""
    if exam.images is None or exam.dataset is None:
        return {}, []
    ids, wrong, swapped = exam.dataset.image_ids, IMAGE_WRONG_SIZE.name, IMAGE_SIDES_SWAPPED.name
    found = {each.index: {fault.name for fault, _ in each.faults} for each in exam.images.seen}
    sizes = {each.index: each.header.size for each in exam.images.seen if each.header and wrong in found[each.index]}
    readable = {*sizes, *(index for index, names in found.items() if swapped in names)}
    bad = [int(ids[each.index]) for each in exam.images.seen if each.is_bad and each.index not in readable]
    return {int(ids[index]): size for index, size in sizes.items()}, bad


def sentences(changes: Changes) -> list[str]:
    """Return one line for each kind of change with the first five ids."""
    return [f"{len(ids)} {what}: {first_five(ids)}" for what, ids in changes.items()]


def write_corrected(
    file: Path, *, pixel_sizes: Mapping[int, tuple[int, int]], unreadable: Sequence[int]
) -> tuple[Path, Changes]:
    """Write the corrected copy of ``file``; return where, and what was changed: nothing written where that is nothing.

    The other arguments are those of :func:`correct`. DataError where there is a corrected copy already.
    """
    target = file.with_name(f"{file.stem}.fixed{file.suffix}")
    if target.exists():
        raise DataError(
            f"there is a corrected copy already: {target}",
            why="nothing is ever overwritten",
            fix="use it, or move it away",
        )
    content, has_mark = _read(file)
    changes = dict(correct(content, pixel_sizes=pixel_sizes, unreadable=unreadable))
    if has_mark:
        changes["byte order mark taken away"] = [file.name]
    text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        if changes:
            with target.open("xb") as out:
                out.write(text)
    except OSError as error:
        raise DataError(
            f"the corrected copy cannot be written ({error.strerror}): {target}",
            fix="make the folder writable, or copy the annotation file elsewhere",
        ) from None
    return target, changes


def _read(file: Path) -> tuple[dict[str, Any], bool]:
    """Return the content of ``file`` and whether it begins with a byte order mark."""
    try:
        raw = file.read_bytes()
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_without_contradiction)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"the annotation file cannot be corrected ({error}): {file}",
            why="what is missing or garbled cannot be known",
            fix="write the file anew",
        ) from None
    if not isinstance(content, dict):
        raise DataError(
            f"the annotation file cannot be corrected: {file} holds a {type(content).__name__}",
            fix="give an object with 'images', 'annotations' and 'categories'",
        )
    return content, raw.startswith(b"\xef\xbb\xbf")


def _without_contradiction(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; a key that is given twice must say the same, since nobody knows which of them is meant."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record and record[key] != value:
            raise ValueError(f"the key {key!r} is given twice with different values")
        record[key] = value
    return record
