"""What is wrong or odd in annotations of any format: boxes, names of files and classes, repeated objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from retina.data import catalogue as kinds
from retina.data.box_checks import duplicate_boxes, look_at_boxes, read_as_corners, read_as_relative
from retina.data.coco.records import annotation_name
from retina.data.findings import Findings, Kind
from retina.data.flat_text import FlatText
from retina.errors import NUM_SHOWN

if TYPE_CHECKING:
    from retina.data.annotations import Annotations


@dataclass(frozen=True)
class Draft:
    """What is needed to name objects before they are sorted."""

    findings: Findings
    image_ids: np.ndarray
    file_names: FlatText
    object_ids: np.ndarray
    owner: np.ndarray

    def report(self, kind: Kind, wrong: np.ndarray) -> None:
        """Count the objects where ``wrong`` holds and name the first."""
        positions = np.flatnonzero(wrong)
        _add(self.findings, kind, positions, self.place)

    def place(self, index: int) -> str:
        """Return how a message names object ``index``."""
        image, name = int(self.owner[index]), annotation_name(int(self.object_ids[index]))
        return f"{name}, image {self.image_ids[image]} {self.file_names[image]!r}"


def usable_boxes(
    draft: Draft, boxes: np.ndarray, sizes: np.ndarray, on_bad_box: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the positions of the boxes that stay, sorted by image, and the clipped corners of all.

    None for the positions: all stay, in the order that they have.
    """
    looks = look_at_boxes(boxes, draft.owner, sizes)
    draft.report(kinds.BOX_NOT_FINITE, ~looks.finite)
    draft.report(kinds.BOX_WITHOUT_SIZE, looks.finite & ~looks.sized)
    draft.report(kinds.BOX_OUTSIDE, looks.sized & ~looks.usable)
    drop = on_bad_box == "drop"
    draft.report(replace(kinds.BOX_LEAVES, outcome=kinds.LEFT_OUT) if drop else kinds.BOX_LEAVES, looks.leaves)
    if read_as_relative(looks):
        draft.report(kinds.BOXES_RELATIVE, looks.sized)
    else:
        draft.report(kinds.BOXES_XYXY, read_as_corners(looks))
    malformed = sum(count for kind, count in draft.findings.counts.items() if kind.name == kinds.BOX_MALFORMED.name)
    unusable = int((~looks.usable).sum()) + malformed
    if 2 * unusable > len(boxes) + malformed:
        draft.findings.add(kinds.BOXES_MOSTLY_BAD, count=unusable)
    keep = looks.usable & ~looks.leaves if drop else looks.usable
    owner = draft.owner[keep]
    in_order = not (owner[1:] < owner[:-1]).any()
    if in_order and keep.all():
        return None, looks.corners
    order = np.flatnonzero(keep)
    # By image, within an image in the file's order.
    return order if in_order else order[np.argsort(owner, kind="stable")], looks.corners


def check_names(annotations: Annotations, findings: Findings) -> None:
    """Report file names and class names that occur twice, and classes that differ in case or spaces only."""
    names = annotations.file_names
    hashes = np.fromiter(map(hash, names), dtype=np.int64, count=len(names))  # millions of names need not be kept
    unique, counts = np.unique(hashes, return_counts=True)
    suspects = np.flatnonzero(np.isin(hashes, unique[counts > 1]))
    repeated = {name for name, count in Counter(names[int(index)] for index in suspects).items() if count > 1}
    twice = [int(index) for index in suspects if names[int(index)] in repeated]
    _add(findings, kinds.FILE_NAME_TWICE, twice, annotations.image_place)
    exact = Counter(annotations.class_names)
    loose = Counter(map(_loosely, exact))
    for number, name in zip(annotations.category_ids, annotations.class_names, strict=True):
        place = f"category {number} {name!r}"
        if not name.strip():
            findings.add(kinds.CLASS_NAME_EMPTY, place)
        if exact[name] > 1:
            findings.add(kinds.CLASS_NAME_TWICE, place)
        elif loose[_loosely(name)] > 1:
            findings.add(kinds.CLASS_NAME_ALIKE, place)


def check_objects(annotations: Annotations, findings: Findings) -> None:
    """Report objects that are written twice, crowds, images without objects and classes without objects."""
    repeated = duplicate_boxes(annotations.offsets, annotations.labels, annotations.boxes)
    _add(findings, kinds.BOX_DUPLICATE, repeated, annotations.object_place)
    _add(findings, kinds.CROWD, np.flatnonzero(annotations.crowd), annotations.object_place)
    without = np.flatnonzero(np.diff(annotations.offsets) == 0)
    _add(findings, kinds.IMAGE_WITHOUT_OBJECTS, without, annotations.image_place)
    used = np.bincount(annotations.labels, minlength=len(annotations.class_names))
    unused = np.flatnonzero(used == 0) if len(annotations.labels) else ()
    _add(findings, kinds.CLASS_UNUSED, unused, lambda label: repr(annotations.class_names[label]))


def _add(findings: Findings, kind: Kind, positions: Sequence[int] | np.ndarray, place: Callable[[int], str]) -> None:
    for index in positions[:NUM_SHOWN]:
        findings.add(kind, place(int(index)))
    if len(positions) > NUM_SHOWN:
        findings.add(kind, count=len(positions) - NUM_SHOWN)


def _loosely(name: str) -> str:
    """Return ``name`` without what people type differently: case, spaces, underscores, hyphens."""
    return re.sub(r"[\s_-]+", "", name.casefold())
