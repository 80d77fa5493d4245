"""One folder of memory-mapped annotations: a header with a checksum, one ``.npy`` file an array, nothing executable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from retina.data.annotations import Annotations
from retina.data.findings import Fault, Finding, Place
from retina.data.flat_text import FlatText
from retina.errors import DataError
from retina.files import replace_atomically, write_text_atomically

FORMAT_VERSION = 2  # to be raised whenever the arrays or the checks change

_ARRAYS = ("image_ids", "sizes", "boxes", "training_boxes", "labels", "areas", "crowd", "object_ids", "offsets")
_TEXT = ("name_offsets", "name_buffer")


def open_folder(folder: str, source: str, findings: tuple[Finding, ...]) -> Annotations:
    """Map the cache in ``folder`` again, as a process that was spawned does.

    Raises:
        DataError: it was removed or damaged in the meantime.
    """
    try:
        return replace(load(Path(folder)), source=source, findings=findings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the cache of {source} cannot be read ({error}): {folder}",
            why="it was there when the run began",
            fix="start again: it will be made anew",
        ) from None


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
