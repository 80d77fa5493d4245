"""Checkpoints: one file of tensors and plain values, never half-written, never trusted unread.

Beside ``last.pt`` stands ``last.pt.sha256`` (as ``sha256sum`` writes it), because ``torch.load`` does not notice a
flipped bit. A checkpoint may come from a stranger: only ``weights_only=True`` is ever used to read one.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import torch
from torch import Tensor, nn

from retina.errors import CheckpointError, RetinaError
from retina.files import replace_atomically, write_text_atomically

_LOGGER = logging.getLogger(__name__)

_PLAIN_TYPES = (str, int, float, bool, type(None), Tensor, nn.Parameter)
_ZIP_MAGIC = b"PK\x03\x04"  # what torch.save has written since torch 1.6
_DIGEST = re.compile(r"^([0-9a-f]{64})\b")
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in the message of a weights_only load that met a class or function

# What torch.load raises for files that are cut short or not of its kind; found by feeding it such files.
_BROKEN = (pickle.UnpicklingError, RuntimeError, OSError, ValueError, LookupError, EOFError, AttributeError, TypeError)

_FIX_DAMAGED = "use the run's other checkpoint (checkpoints/best.pt or checkpoints/last.pt), or copy the file again"
_FIX_OTHER = "give a run directory or its checkpoints/best.pt"
_FIX_MISSING = "ls runs/*/checkpoints shows the checkpoints of your runs"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` so that at every moment either the earlier or the new checkpoint is whole.

    The sha256 file is first made to hold the digests of both, and reduced to the new one after the rename: whenever the
    process dies, the file that stands there is one of those it lists.

    Raises:
        ValueError: ``state`` holds something else than tensors and plain values (dict, list, tuple, str, int, float,
            bool, None), which ``torch.load(weights_only=True)`` would refuse.
        RetinaError: the disk is full or the folder cannot be written. The earlier checkpoint stays as it was.
    """
    _check_plain(state, "state")
    try:
        # One of these is the digest of the file that stands there now.
        earlier = (_listed_digests(path) or [_sha256(path)]) if path.exists() else []
        with replace_atomically(path) as file:
            digest = _save(state, file)
            _list_digests(path, [digest, *earlier])
        _list_digests(path, [digest])
    except OSError as error:
        raise RetinaError(
            f"the checkpoint could not be written: {path}: {error.strerror or error}",
            why="an earlier checkpoint of that name, if there was one, is whole",
            fix=f"make room or give write permission in {path.parent}, then resume with resume=<run directory>",
        ) from error


class _Hashing:
    """A file that computes the sha256 of what passes through, so that it need not be read again nor kept in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, chunk: bytes) -> int:
        self.sha256.update(chunk)
        try:
            return self.file.write(chunk)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _save(state: dict[str, Any], file: BinaryIO) -> str:
    """Write ``state`` to ``file`` and return its sha256."""
    writer = _Hashing(file)
    try:
        torch.save(state, cast(BinaryIO, writer))
    except RuntimeError as error:
        # torch's C++ writer turns a full disk into "unexpected pos": tell the cause instead.
        raise (writer.error or error) from error
    return writer.sha256.hexdigest()


def load_checkpoint(path: Path, *, required_keys: Collection[str] = ()) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU, after verifying its sha256.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, would run code, or lacks ``required_keys``.
    """
    _check_is_checkpoint(path)
    _check_sha256(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"not a checkpoint of this project: {path} holds a {type(state).__name__}",
            why="a checkpoint is a dictionary of named parts",
            fix=_FIX_OTHER,
        )
    if absent := [key for key in required_keys if key not in state]:
        raise CheckpointError(
            f"the checkpoint lacks {', '.join(map(repr, absent))}: {path} (it holds {', '.join(map(str, state))})",
            why="another program, or another version of this one, wrote it",
            fix=_FIX_OTHER,
        )
    return state


def resolve_checkpoint(path: str | Path, *, prefer: Literal["best", "last"] = "best") -> Path:
    """Return the checkpoint file that ``path`` means: itself, or in a run directory that of ``prefer``, else the other.

    Raises:
        CheckpointError: no such file or folder, or a folder without checkpoints.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise _missing(f"no such checkpoint or run directory: {path}")
    for name in (f"{prefer}.pt", "last.pt", "best.pt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise CheckpointError(
        f"no checkpoint in {path}",
        why="there is neither checkpoints/best.pt nor checkpoints/last.pt: it is no run, or has not saved yet",
        fix=_FIX_MISSING,
    )


def _missing(what: str) -> CheckpointError:
    return CheckpointError(what, why=f"relative paths start at {Path.cwd()}", fix=_FIX_MISSING)


def _check_plain(value: Any, where: str) -> None:
    """Raise where ``value`` holds what weights_only loading refuses. Exact types: numpy's floats are floats too."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise ValueError(f"{where} has a key of type {type(key).__name__} ({key!r}), not str or int")
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in _PLAIN_TYPES:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise ValueError(f"{where} is a {kind}; a checkpoint holds tensors and plain values only")


def _check_is_checkpoint(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP_MAGIC))
    except FileNotFoundError as error:
        raise _missing(f"no such checkpoint: {path}") from error
    except OSError as error:
        what = f"the checkpoint cannot be read: {path}: {error.strerror}"
        raise CheckpointError(what, fix="give read permission, or the path of a file") from error
    if start != _ZIP_MAGIC:
        raise CheckpointError(
            f"not a checkpoint: {path} ({path.stat().st_size:,} bytes)",
            why="it does not start as a file of torch.save does",
            fix=_FIX_OTHER,
        )


def _check_sha256(path: Path) -> None:
    expected = _listed_digests(path)
    if not expected:
        _LOGGER.warning("%s has no sha256 beside it: whether it is whole could not be verified", path)
    elif (found := _sha256(path)) not in expected:
        raise CheckpointError(
            f"the checkpoint is damaged: {path} (sha256 {found[:12]}..., expected {expected[0][:12]}...)",
            why=f"the file was cut short or changed after it was written ({path.stat().st_size:,} bytes now)",
            fix=_FIX_DAMAGED,
        )


def _list_digests(path: Path, digests: list[str]) -> None:
    lines = "".join(f"{digest}  {path.name}\n" for digest in digests)
    write_text_atomically(path.with_name(f"{path.name}.sha256"), lines)


def _listed_digests(path: Path) -> list[str]:
    """Return the digests beside ``path``, the newest first; none where they cannot be read."""
    try:
        lines = path.with_name(f"{path.name}.sha256").read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [match[1] for line in lines if (match := _DIGEST.match(line))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: BaseException) -> CheckpointError:
    if refused := _REFUSED_GLOBAL.search(str(error)):
        return CheckpointError(
            f"the checkpoint holds more than tensors and plain values: {path} asks for {refused[1]}",
            why="reading it any other way could run code from the file, so none of it was taken",
            fix="use a checkpoint that this project wrote",
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"the checkpoint cannot be read: {path} ({reason})",
        why="the file was cut short or changed after it was written",
        fix=_FIX_DAMAGED,
    )
