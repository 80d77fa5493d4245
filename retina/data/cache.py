"""Parsed annotations as arrays beside the annotation file, mapped into memory by every process that opens it.

    <folder>/.retina-cache/<file>-<first 16 of the sha256>-<policy>-v2/   header.json and one .npy an array
    <folder>/.retina-cache/<file>.stamp.json                              the sha256 of a file of that size and time

``<folder>`` is that of the annotation file; where that is read-only, ``$XDG_CACHE_HOME/retina`` (``~/.cache/retina``)
is taken. A folder gets its name when it is whole, so of two processes that build it at once one is first and the
other takes what is there. Nothing in it is executed; what is damaged is built anew.
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from retina.data.annotations import Annotations, OnBadBox, by_policy, refuse_errors
from retina.data.coco.file import read_annotations
from retina.data.findings import Fault, Finding, Place, note
from retina.data.flat_text import FlatText
from retina.data.remote import is_remote, size_and_version
from retina.errors import DataError
from retina.files import make_folder_atomically, replace_atomically, write_json_atomically, write_text_atomically

FOLDER = ".retina-cache"
# Files below are parsed in less time than it takes to look after a cache (0.1 s), and their arrays are few megabytes.
SMALLEST = 4 << 20  # bytes

NOT_WRITTEN = note(
    "cache-not-written",
    "{cache|caches} of the annotations could not be written",
    "the file is parsed at every start, and every loader process that is spawned has its own copy",
    "make the folder of the annotations or ~/.cache writable",
)

FORMAT_VERSION = 2  # to be raised whenever the arrays or the checks change

_ARRAYS = ("image_ids", "sizes", "boxes", "training_boxes", "labels", "areas", "crowd", "object_ids", "offsets")
_TEXT = ("name_offsets", "name_buffer")

# A file that was changed twice within the clock's resolution looks unchanged: younger ones are hashed again.
_SETTLED_NS = 2 * 10**9
_ABANDONED_S = 24 * 3600  # what is half made and older was left by a process that was killed


def open_annotations(path: str | Path, *, on_bad_box: OnBadBox = "clip") -> Annotations:
    """Return the content of a COCO file, mapped from its cache; the first to open a large file makes the cache.

    ``path`` may be an address such as ``s3://bucket/instances.json``; ``on_bad_box`` as of :func:`build_annotations`.

    Raises:
        DataError: there are errors among the findings.
    """
    policy: OnBadBox = "drop" if on_bad_box == "drop" else "clip"  # error: the arrays of clip, judged below
    stamp = _stamp(path)
    if stamp is None:
        return read_annotations(path, on_bad_box=on_bad_box)
    places = [_Place(folder, path, policy) for folder in _folders(path)]
    for place in places:
        if found := place.open(stamp):
            return _judged(found, on_bad_box)
    annotations = read_annotations(path, on_bad_box=policy)
    for place in places:
        if stored := place.store(annotations, stamp):
            return _judged(stored, on_bad_box)
    missing = Finding(NOT_WRITTEN, str(path), 1, tuple(Place(str(place.folder)) for place in places))
    return _judged(replace(annotations, findings=(*annotations.findings, missing)), on_bad_box)


def _judged(annotations: Annotations, on_bad_box: str) -> Annotations:
    findings = by_policy(annotations.findings, on_bad_box)
    refuse_errors(findings)
    return replace(annotations, findings=findings)


def _stamp(path: str | Path) -> dict[str, Any] | None:
    """Return what tells that a file is the one seen before without reading it; None where no cache is kept."""
    try:
        if is_remote(path):
            size, version = size_and_version(str(path))
            return {"size": size, "version": version} if size >= SMALLEST else None
        status = os.stat(path)
    except OSError:
        return None
    if status.st_size < SMALLEST or not os.path.isfile(path):
        return None
    return {"size": status.st_size, "mtime": status.st_mtime_ns, "ctime": status.st_ctime_ns, "inode": status.st_ino}


def _folders(path: str | Path) -> Iterator[Path]:
    if not is_remote(path):
        yield Path(os.path.realpath(path)).parent / FOLDER
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(base):
        place = str(path) if is_remote(path) else os.path.realpath(path)
        yield Path(base) / "retina" / hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class _Place:
    """One folder that may hold the cache of one annotation file."""

    def __init__(self, folder: Path, path: str | Path, policy: str) -> None:
        self.folder, self.path, self.policy = folder, path, policy
        self.name = os.path.basename(str(path))
        self.stamp_file = folder / f"{self.name}.stamp.json"

    def open(self, stamp: dict[str, Any]) -> Annotations | None:
        """Return the cached content of the file as it is now; None where there is none, or it is damaged."""
        if not self.folder.is_dir() or (fingerprint := self._stamped(stamp) or self._hashed(stamp)) is None:
            return None
        folder = self._folder_of(fingerprint)
        try:
            found = load(folder)
            if found.fingerprint == fingerprint:
                return self._named(found)
        except (OSError, ValueError, KeyError, TypeError):
            if not folder.exists():
                return None
        self._discard(folder)
        return None

    def store(self, annotations: Annotations, stamp: dict[str, Any]) -> Annotations | None:
        """Write the cache and return it mapped, or the one that another process wrote first; None where that fails."""
        folder = self._folder_of(annotations.fingerprint)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tidy(annotations.fingerprint)
            with make_folder_atomically(folder) as unfinished:
                write(unfinished, annotations)
            mapped = self._named(load(folder))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._write_stamp(stamp, annotations.fingerprint)
        return mapped

    def _named(self, found: Annotations) -> Annotations:
        """Return what was cached under the name that the file has now."""
        source = str(self.path)
        return replace(found, source=source, findings=tuple(replace(f, file=source) for f in found.findings))

    def _folder_of(self, fingerprint: str) -> Path:
        return self.folder / f"{self.name}-{fingerprint[:16]}-{self.policy}-v{FORMAT_VERSION}"

    def _stamped(self, stamp: dict[str, Any]) -> str | None:
        try:
            kept = json.loads(self.stamp_file.read_text(encoding="utf-8"))
            return str(kept["sha256"]) if kept["file"] == stamp else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _hashed(self, stamp: dict[str, Any]) -> str | None:
        """Return the sha256 of the file where a cache of it may be there, remembered for the next time."""
        prefix = f"{self.name}-"
        if is_remote(self.path) or not any(name.startswith(prefix) for name in os.listdir(self.folder)):
            return None  # parsing reads the file anyway
        with open(self.path, "rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        self._write_stamp(stamp, fingerprint)
        return fingerprint

    def _write_stamp(self, stamp: dict[str, Any], fingerprint: str) -> None:
        changed = max(stamp.get("mtime", 0), stamp.get("ctime", 0))
        if time.time_ns() - changed < _SETTLED_NS or _stamp(self.path) != stamp:
            return
        with suppress(OSError):
            write_json_atomically(self.stamp_file, {"file": stamp, "sha256": fingerprint})

    def _tidy(self, fingerprint: str) -> None:
        """Remove caches of earlier contents of the file and what killed processes left; mappings of them stay valid."""
        ignored = self.folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
        of_file = re.compile(rf"{re.escape(self.name)}-(?!{fingerprint[:16]})[0-9a-f]{{16}}-[a-z]+-v[0-9]+")
        for folder in list(self.folder.iterdir()):
            with suppress(OSError):  # another process may remove it at the same time
                is_old = folder.name.endswith(".partial") and time.time() - folder.stat().st_mtime > _ABANDONED_S
                if (is_old or of_file.fullmatch(folder.name)) and folder.is_dir() and not folder.is_symlink():
                    self._discard(folder)

    def _discard(self, folder: Path) -> None:
        gone = self.folder / f".{secrets.token_hex(8)}.partial"
        with suppress(OSError):
            os.rename(folder, gone)  # at once, so that no process finds a part of it
            shutil.rmtree(gone, ignore_errors=True)


def open_folder(folder: str, source: str, findings: tuple[Finding, ...]) -> Annotations:
    """Map the cache in ``folder`` again, as a spawned process does; DataError where it was removed or damaged since."""
    try:
        return replace(load(Path(folder)), source=source, findings=findings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the cache of {source} cannot be read ({error}): {folder}",
            why="it was there when the run began",
            fix="start again: it will be made anew",
        ) from None


def _reduced(annotations: Annotations) -> Any:
    """Pickle by the path of the cache where there is one, so that a process that is spawned maps the same pages."""
    if annotations.cache is None:
        return Annotations, tuple(vars(annotations).values())
    return open_folder, (annotations.cache, annotations.source, annotations.findings)


copyreg.pickle(Annotations, _reduced)


def write(folder: Path, annotations: Annotations) -> None:
    """Write ``annotations`` into the empty ``folder``, down to the disk; OSError where that fails."""
    arrays = {name: getattr(annotations, name) for name in _ARRAYS}
    arrays |= dict(zip(_TEXT, (annotations.file_names.offsets, annotations.file_names.buffer), strict=True))
    described = {}
    for name, array in arrays.items():
        with replace_atomically(folder / f"{name}.npy") as file:
            np.save(file, array, allow_pickle=False)
            described[name] = {"shape": list(array.shape), "dtype": array.dtype.str, "bytes": file.tell()}
    header = {
        "version": FORMAT_VERSION,
        "sha256": annotations.fingerprint,
        "category_ids": annotations.category_ids,
        "class_names": annotations.class_names,
        "findings": [asdict(finding) for finding in annotations.findings],
        "arrays": described,
    }
    text = json.dumps(header)
    write_text_atomically(folder / "header.json", f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def load(folder: Path) -> Annotations:
    """Map a cache; ValueError, KeyError, TypeError or OSError where it is not what was written."""
    digest, text = (folder / "header.json").read_text(encoding="utf-8").split("\n", 1)
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ValueError("the header is damaged")
    header = json.loads(text)
    if header["version"] != FORMAT_VERSION:
        raise ValueError("it is of another version")
    arrays = {name: _mapped(folder / f"{name}.npy", header["arrays"][name]) for name in (*_ARRAYS, *_TEXT)}
    names = FlatText.of_arrays(*(arrays.pop(name) for name in _TEXT))
    offsets = arrays["offsets"]
    ends = (int(offsets[0]), int(offsets[-1]), len(offsets) - 1)
    if ends != (0, len(arrays["labels"]), len(names)) or (np.diff(offsets) < 0).any():
        raise ValueError("the arrays do not belong together")
    findings = tuple(
        Finding(
            Fault(**found["fault"]), found["file"], found["count"], tuple(Place(**place) for place in found["places"])
        )
        for found in header["findings"]
    )
    return Annotations(
        source="",
        category_ids=tuple(header["category_ids"]),
        class_names=tuple(header["class_names"]),
        file_names=names,
        findings=findings,
        fingerprint=header["sha256"],
        cache=str(folder),
        **arrays,
    )


def _mapped(path: Path, described: dict[str, Any]) -> np.ndarray:
    if path.stat().st_size != described["bytes"]:
        raise ValueError(f"{path.name} has another size than it was written with")
    # A plain view: np.memmap would make every slice another memmap, which costs microseconds each.
    if 0 in described["shape"]:
        array = np.load(path, allow_pickle=False)  # nothing can be mapped
    else:
        array = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    if list(array.shape) != described["shape"] or array.dtype.str != described["dtype"]:
        raise ValueError(f"{path.name} holds another array than was written")
    return array
