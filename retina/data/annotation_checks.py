"""What is wrong or odd in annotations of any format: boxes, names of files and classes, repeated objects."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from retina.data import catalogue
from retina.data.box_checks import duplicate_boxes, look_at_boxes, read_as_corners, read_as_relative
from retina.data.coco.records import image_place, object_place
from retina.data.findings import Fault, Findings, Place
from retina.data.flat_text import FlatText

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

    def report(self, fault: Fault, wrong: np.ndarray) -> None:
        """Count the objects where ``wrong`` holds and name the first."""
        self.findings.add_each(fault, np.flatnonzero(wrong), self.place)

    def place(self, index: int) -> Place:
        """Return how a message names object ``index``."""
        image = int(self.owner[index])
        return object_place(
            int(self.object_ids[index]), image_place(int(self.image_ids[image]), self.file_names[image])
        )


def usable_boxes(
    draft: Draft, boxes: np.ndarray, sizes: np.ndarray, on_bad_box: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the positions of the boxes that stay, sorted by image, and the clipped corners of all.

    None for the positions: all stay, in the order that they have.
    """
    looks = look_at_boxes(boxes, draft.owner, sizes)
    draft.report(catalogue.BOX_NOT_FINITE, ~looks.finite)
    draft.report(catalogue.BOX_WITHOUT_SIZE, looks.finite & ~looks.sized)
    draft.report(catalogue.BOX_OUTSIDE, looks.sized & ~looks.usable)
    drop, leaving = on_bad_box == "drop", catalogue.BOX_LEAVES_IMAGE
    draft.report(replace(leaving, outcome=catalogue.LEFT_OUT) if drop else leaving, looks.leaves)
    if read_as_relative(looks):
        draft.report(catalogue.BOXES_RELATIVE, looks.sized)
    else:
        draft.report(catalogue.BOXES_XYXY, read_as_corners(looks))
    malformed = draft.findings.counts.get(catalogue.BOX_MALFORMED, 0)
    unusable = int((~looks.usable).sum()) + malformed
    if 2 * unusable > len(boxes) + malformed:
        draft.findings.add(catalogue.BOXES_MOSTLY_UNUSABLE, count=unusable)
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
    findings.add_each(catalogue.FILE_NAME_TWICE, twice, annotations.image_place)
    exact = Counter(annotations.class_names)
    loose = Counter(map(_loosely, exact))
    for number, name in zip(annotations.category_ids, annotations.class_names, strict=True):
        place = f"category {number} {name!r}"
        if not name.strip():
            findings.add(catalogue.CLASS_NAME_EMPTY, place)
        if exact[name] > 1:
            findings.add(catalogue.CLASS_NAME_TWICE, place)
        elif loose[_loosely(name)] > 1:
            findings.add(catalogue.CLASS_NAME_ALIKE, place)


def check_objects(annotations: Annotations, findings: Findings) -> None:
    """Report objects that are written twice, crowds, images without objects and classes without objects."""
    repeated = duplicate_boxes(annotations.offsets, annotations.labels, annotations.boxes)
    findings.add_each(catalogue.BOX_DUPLICATE, repeated, annotations.object_place)
    findings.add_each(catalogue.CROWD, np.flatnonzero(annotations.crowd), annotations.object_place)
    without = np.flatnonzero(np.diff(annotations.offsets) == 0)
    findings.add_each(catalogue.IMAGE_WITHOUT_OBJECTS, without, annotations.image_place)
    used = np.bincount(annotations.labels, minlength=len(annotations.class_names))
    unused = np.flatnonzero(used == 0) if len(annotations.labels) else ()
    findings.add_each(catalogue.CLASS_UNUSED, unused, lambda label: repr(annotations.class_names[label]))


def _loosely(name: str) -> str:
    """Return ``name`` without what people type differently: case, spaces, underscores, hyphens."""
    return re.sub(r"[\s_-]+", "", name.casefold())
