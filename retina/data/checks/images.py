"""Looking at every image file of a split: its header, or all of its pixels."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from retina.data import catalogue
from retina.data.checks.header import Header, HugeImage, UnknownImage, is_complete, may_be_truncated, read_header
from retina.data.dataset import DetectionDataset
from retina.data.findings import Fault, Finding, Findings
from retina.data.images import read_image
from retina.errors import DataError

Depth = Literal["header", "all"]
THUMBNAIL = 24  # pixels a side of the small gray copy by which images are compared
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]  # shows how far a pass is; the number of items, a title


def untracked(items: Iterable[Any], total: int, title: str) -> Iterable[Any]:
    """Return ``items``: a pass that shows nothing."""
    return items


@dataclass(slots=True)
class Seen:
    """What was seen of one image file."""

    index: int
    faults: list[tuple[Fault, str]] = field(default_factory=list)  # and what else there is to say: "640 x 480"
    header: Header | None = None
    digest: bytes | None = None  # of the file's content
    thumbnail: np.ndarray | None = None  # (THUMBNAIL, THUMBNAIL) uint8 gray

    @property
    def is_bad(self) -> bool:
        """Return whether the image cannot be trained on."""
        return any(fault in catalogue.BAD_IMAGE for fault, _ in self.faults)


@dataclass(frozen=True)
class ImageCheck:
    """What was seen of the images of one split."""

    findings: tuple[Finding, ...]
    seen: Sequence[Seen]  # of the images that were looked at


def check_images(
    dataset: DetectionDataset, *, depth: Depth, indices: Sequence[int] | None = None, track: Track = untracked
) -> ImageCheck:
    """Look at the images at ``indices`` (None: all), several at once.

    ``header`` reads the first bytes of each file; ``all`` reads and decodes it as training does, and keeps what
    duplicates are found by.
    """
    chosen = range(len(dataset)) if indices is None else indices
    workers = min(8, 2 * (os.cpu_count() or 1))  # reading and decoding do not hold the interpreter
    threads = cv2.getNumThreads()
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it still refuses the huge ones
        cv2.setNumThreads(1)
        try:
            results = pool.map(lambda index: _look(dataset, index, depth), chosen)
            seen = list(track(results, len(chosen), f"{dataset.split}: images"))
        finally:
            cv2.setNumThreads(threads)
    findings = Findings(str(dataset.images_root))
    for each in seen:
        for fault, detail in each.faults:
            findings.add(fault, dataset.annotations.image_place(each.index, detail))
    return ImageCheck(findings.all(), seen)


def unchecked(file: str, count: int, reason: str) -> Finding:
    """Return the finding that ``count`` images were not looked at, and why."""
    return Finding(replace(catalogue.IMAGES_NOT_CHECKED, outcome=reason), file, count, ())


def is_local(dataset: DetectionDataset) -> bool:
    """Return whether the images stand in a folder of this machine; those of remote storage are not looked at."""
    return dataset.images_root is not None and os.path.isdir(dataset.images_root)


def file_fault(dataset: DetectionDataset, index: int) -> tuple[str | None, Fault | None]:
    """Return the path of an image that may be opened, or what is wrong with the file."""
    try:
        path = str(dataset.image_file(index))
        return (path, None) if os.path.getsize(path) else (None, catalogue.IMAGE_ZERO_BYTES)
    except DataError:
        path = os.path.join(str(dataset.images_root), dataset.file_names[index])
    except OSError:  # gone since
        return None, catalogue.IMAGE_MISSING
    try:
        os.stat(path)
    except (OSError, ValueError):
        return None, catalogue.IMAGE_MISSING
    root = os.path.realpath(str(dataset.images_root))
    inside = os.path.realpath(path).startswith(root + os.sep)
    return None, catalogue.IMAGE_NOT_A_FILE if inside and not os.path.isfile(path) else catalogue.IMAGE_OUTSIDE_FOLDER


def _look(dataset: DetectionDataset, index: int, depth: Depth) -> Seen:
    path, fault = file_fault(dataset, index)
    seen = Seen(index, [(fault, "")] if fault else [])
    if path is None:
        return seen
    try:
        seen.header = read_header(path)
        seen.faults = list(_header_faults(dataset, index, seen.header))
    except HugeImage:
        seen.faults = [(catalogue.IMAGE_HUGE, "")]
        return seen
    except UnknownImage:
        if depth == "header":
            _decode(dataset, seen, path)  # OpenCV knows formats that Pillow does not
    except OSError as error:
        seen.faults = [(catalogue.IMAGE_UNDECODABLE, error.strerror or str(error))]
        return seen
    if depth == "all":
        _look_at_all(dataset, seen, path)
    return seen


def _look_at_all(dataset: DetectionDataset, seen: Seen, path: str) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        seen.faults = [(catalogue.IMAGE_UNDECODABLE, error.strerror or str(error))]
        return
    seen.digest = hashlib.blake2b(content, digest_size=16).digest()
    if seen.header is not None and may_be_truncated(content) and not is_complete(io.BytesIO(content)):
        seen.faults.append((catalogue.IMAGE_TRUNCATED, f"{len(content):,} bytes"))
    elif (image := _decode(dataset, seen, path)) is not None:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        seen.thumbnail = cv2.resize(gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    elif seen.header is None:
        seen.digest = None  # no image at all: no copy of another


def _decode(dataset: DetectionDataset, seen: Seen, path: str) -> np.ndarray | None:
    """Decode as training does and note where that fails."""
    try:
        image = read_image(path, dataset.annotations.image_place(seen.index).text, exif=dataset.exif)
    except DataError:
        detail = f"{seen.header.format} that OpenCV cannot read" if seen.header else ""
        seen.faults.append((catalogue.IMAGE_UNDECODABLE, detail))
        return None
    if seen.header is None and image.shape[:2] != tuple(dataset.sizes[seen.index]):
        seen.faults.append((catalogue.IMAGE_WRONG_SIZE, _sizes(image.shape[:2], dataset.sizes[seen.index])))
    return image


def _header_faults(dataset: DetectionDataset, index: int, header: Header) -> Iterator[tuple[Fault, str]]:
    said, size = (int(dataset.sizes[index, 0]), int(dataset.sizes[index, 1])), header.size
    apply = dataset.exif == "apply"
    as_read = size[::-1] if apply and header.sides_swapped else size
    if as_read != said:
        swapped = header.sides_swapped and as_read == said[::-1]
        yield catalogue.IMAGE_SIDES_SWAPPED if swapped else catalogue.IMAGE_WRONG_SIZE, _sizes(as_read, said)
    elif header.orientation != 1 and not apply:
        yield catalogue.IMAGE_TURNED, f"orientation {header.orientation}"
    for fault in header.oddities(dataset.file_names[index]):
        yield fault, header.format if fault is catalogue.IMAGE_EXTENSION else ""


def _sizes(pixels: Sequence[int], said: Sequence[int]) -> str:
    return f"{pixels[1]} x {pixels[0]} pixels, {said[1]} x {said[0]} in the annotations"
