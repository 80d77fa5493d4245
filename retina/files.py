"""A file or a folder appears whole or not at all, whenever the power goes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
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
    """Write ``text`` as UTF-8 to ``path``."""
    with replace_atomically(path) as file:
        file.write(text.encode())


def write_json_atomically(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write ``value`` as JSON to ``path``; ValueError where it holds nan or infinity, which JSON does not have."""
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    with replace_atomically(path) as file:
        # Half of a surrogate pair (a file name that is no UTF-8) has no encoding, but an escape in JSON.
        file.write(f"{text}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def make_folder_atomically(path: Path) -> Iterator[Path]:
    """Yield a new folder that gets the name ``path`` when the block ends, and vanishes when the block fails.

    Several processes may make one folder at the same time: that of the first stays, and all of them end with it.

    Raises:
        OSError: no space, no permission, or ``path`` is a file.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        try:
            unfinished.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
