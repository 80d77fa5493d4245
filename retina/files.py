"""Files that are either the earlier version or the new one, whole, whenever the power goes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replace_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of ``path`` when the block ends, and vanishes when the block fails.

    It stands in the same folder (a rename does not cross file systems) under one fixed name, so that what a killed
    process left behind is overwritten by the next. First the content is brought to the disk, then the name.

    Raises:
        OSError: no space, no permission, no such folder. The earlier version of ``path`` is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:  # also Ctrl-C: nothing half-written stays
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with replace_atomically(path) as file:
        file.write(text.encode())


def write_json_atomically(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write ``value`` as JSON to ``path``, whole or not at all."""
    write_text_atomically(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
