"""Annotations of any format as flat arrays, with everything that was found wrong or odd in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from retina.data import catalogue
from retina.data.box_checks import duplicate_boxes, look_at_boxes, read_as_corners, read_as_relative
from retina.data.findings import Finding, Findings, Place
from retina.data.flat_text import FlatText
from retina.errors import DataError, counted
from retina.ranges import checked

# An annotation without a usable id stands for itself by its number, counted from here.
NO_ID = -(2**63)
_LAST_NO_ID = -(2**62)


def annotation_name(object_id: int) -> str:
    """Return how a message names an annotation by its id, or by its number in the file."""
    return f"annotation {object_id}" if object_id > _LAST_NO_ID else f"annotation number {object_id - NO_ID + 1}"


def image_place(image_id: int, file_name: str, detail: str = "") -> Place:
    """Return how a message names an image: ``image 17 'a.jpg' (detail)``."""
    return Place(f"image {image_id} {file_name!r}" + (f" ({detail})" if detail else ""), int(image_id))


def object_place(object_id: int, image: Place) -> Place:
    """Return how a message names an object of ``image``: ``annotation 880011, image 17 'a.jpg'``."""
    return Place(f"{annotation_name(object_id)}, {image}", image.image_id, int(object_id))


@dataclass(frozen=True)
class Annotations:
    """Annotations as flat arrays; the objects of image ``i`` are ``offsets[i]:offsets[i + 1]``."""

    source: str  # the file or folder that was read, for messages
    category_ids: tuple[int, ...]  # (K,) ascending; label k is category_ids[k]
    class_names: tuple[str, ...]  # (K,)
    image_ids: np.ndarray  # (n,) int64, in the file's order
    file_names: FlatText  # (n,)
    sizes: np.ndarray  # (n, 2) int64 (height, width)
    boxes: np.ndarray  # (m, 4) float64 xywh as in the file
    training_boxes: np.ndarray  # (m, 4) float32 xyxy, clipped to the image
    labels: np.ndarray  # (m,) int64 in [0, K)
    areas: np.ndarray  # (m,) float64 as in the file
    crowd: np.ndarray  # (m,) bool
    object_ids: np.ndarray  # (m,) int64 as in the file; NO_ID + number of the annotation where it has none
    offsets: np.ndarray  # (n + 1,) int64
    findings: tuple[Finding, ...]  # what is wrong, left out, assumed or odd
    fingerprint: str  # sha256 of what was read, hexadecimal
    cache: str | None = None  # the folder that the arrays are mapped from

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(map(str, self.findings))

    def image_place(self, index: int, detail: str = "") -> Place:
        """Return how a message names image ``index``, and what else there is to say of it."""
        return image_place(self.image_ids[index], self.file_names[index], detail)

    def object_place(self, index: int) -> Place:
        """Return how a message names object ``index``."""
        return object_place(self.object_ids[index], self.image_place(self.owner(index)))

    def owner(self, index: int) -> int:
        """Return the image of object ``index``."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def take(self, images: np.ndarray, **changed: Any) -> Annotations:
        """Return ``images`` (positions, in the order wanted) alone, with all categories; ``changed``: other fields."""
        counts = np.diff(self.offsets)[images]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        objects = np.repeat(self.offsets[images] - offsets[:-1], counts) + np.arange(offsets[-1])
        of_objects = ("boxes", "training_boxes", "labels", "areas", "crowd", "object_ids")
        return replace(
            self,
            image_ids=self.image_ids[images],
            file_names=FlatText(self.file_names[int(index)] for index in images),
            sizes=self.sizes[images],
            **{name: getattr(self, name)[objects] for name in of_objects},
            offsets=offsets,
            cache=None,  # the arrays are no longer those of the folder
            **changed,
        )


@dataclass(frozen=True)
class RawAnnotations:
    """Annotations as they were read: any boxes, objects in any order."""

    category_ids: Sequence[int]  # (K,) ascending
    class_names: Sequence[str]  # (K,)
    image_ids: np.ndarray  # (n,) int64, each once
    file_names: FlatText  # (n,) relative to the folder of images
    sizes: np.ndarray  # (n, 2) int64 (height, width), at least 1
    image_of_object: np.ndarray  # (m,) positions in image_ids
    labels: np.ndarray  # (m,) positions in category_ids
    boxes: np.ndarray  # (m, 4) float64 xywh in pixels
    areas: np.ndarray  # (m,) float64
    crowd: np.ndarray  # (m,) bool
    object_ids: np.ndarray  # (m,) int64; NO_ID + number where there is none

    def object_place(self, index: int) -> Place:
        """Return how a message names object ``index``."""
        image = int(self.image_of_object[index])
        return object_place(self.object_ids[index], image_place(self.image_ids[image], self.file_names[image]))


OnBadBox = Literal["clip", "drop", "error"]


@checked
def build_annotations(
    raw: RawAnnotations, findings: Findings, *, source: str, fingerprint: str, on_bad_box: OnBadBox = "clip"
) -> Annotations:
    """Return annotations whose boxes can be used, sorted by image; what is wrong is added to ``findings``.

    Nothing is raised for errors among the findings: :func:`refuse_errors` does.

    ``source``: the file or folder that was read, for messages; ``fingerprint``: its sha256. ``on_bad_box`` ``clip``: a
    box that leaves its image is clipped, one that cannot be used is left out; ``drop``: both are left out; ``error``:
    both become errors.
    """
    order, training_boxes = usable_boxes(raw, findings, on_bad_box)

    kept = slice(None) if order is None else order
    counts = np.bincount(raw.image_of_object[kept], minlength=len(raw.image_ids))
    annotations = Annotations(
        source=source,
        category_ids=tuple(int(number) for number in raw.category_ids),
        class_names=tuple(raw.class_names),
        **{name: getattr(raw, name) for name in ("image_ids", "file_names", "sizes")},
        **{name: getattr(raw, name)[kept] for name in ("boxes", "labels", "areas", "crowd", "object_ids")},
        training_boxes=training_boxes[kept],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        findings=(),
        fingerprint=fingerprint,
    )
    _check_names(annotations, findings)
    _check_objects(annotations, findings)
    return replace(annotations, findings=by_policy(findings.all(), on_bad_box))


def usable_boxes(raw: RawAnnotations, findings: Findings, on_bad_box: str) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the positions of the boxes that stay, sorted by image, and the clipped corners of all.

    None for the positions: all stay, in the order that they have.
    """
    looks = look_at_boxes(raw.boxes, raw.image_of_object, raw.sizes)
    drop, leaving = on_bad_box == "drop", catalogue.BOX_LEAVES_IMAGE
    found = [
        (catalogue.BOX_NOT_FINITE, ~looks.finite),
        (catalogue.BOX_WITHOUT_SIZE, looks.finite & ~looks.sized),
        (catalogue.BOX_OUTSIDE, looks.sized & ~looks.usable),
        (replace(leaving, outcome=catalogue.LEFT_OUT) if drop else leaving, looks.leaves),
    ]
    relative = read_as_relative(looks)
    found.append(
        (catalogue.BOXES_RELATIVE, looks.sized) if relative else (catalogue.BOXES_XYXY, read_as_corners(looks))
    )
    for fault, wrong in found:
        findings.add_each(fault, np.flatnonzero(wrong), raw.object_place)
    malformed = findings.counts.get(catalogue.BOX_MALFORMED, 0)
    unusable = int((~looks.usable).sum()) + malformed
    if 2 * unusable > len(raw.boxes) + malformed:
        findings.add(catalogue.BOXES_MOSTLY_UNUSABLE, count=unusable)
    keep = looks.usable & ~looks.leaves if drop else looks.usable
    owner = raw.image_of_object[keep]
    in_order = not (owner[1:] < owner[:-1]).any()
    if in_order and keep.all():
        return None, looks.corners
    # By image, within an image in the file's order.
    return np.flatnonzero(keep)[np.argsort(owner, kind="stable")], looks.corners


def _check_names(annotations: Annotations, findings: Findings) -> None:
    """Report file names and class names that occur twice, and classes that differ in case or spaces only."""
    names = annotations.file_names
    hashes = np.fromiter(map(hash, names), dtype=np.int64, count=len(names))  # millions of names need not be kept
    unique, counts = np.unique(hashes, return_counts=True)
    suspects = np.flatnonzero(np.isin(hashes, unique[counts > 1]))
    repeated = {name for name, count in Counter(names[int(index)] for index in suspects).items() if count > 1}
    twice = [int(index) for index in suspects if names[int(index)] in repeated]
    findings.add_each(catalogue.FILE_NAME_TWICE, twice, annotations.image_place)
    exact = Counter(annotations.class_names)
    # Without what people type differently: case, spaces, underscores, hyphens.
    alike = {name: re.sub(r"[\s_-]+", "", name.casefold()) for name in exact}
    loose = Counter(alike.values())
    for number, name in zip(annotations.category_ids, annotations.class_names, strict=True):
        place = f"category {number} {name!r}"
        if not name.strip():
            findings.add(catalogue.CLASS_NAME_EMPTY, place)
        if exact[name] > 1:
            findings.add(catalogue.CLASS_NAME_TWICE, place)
        elif loose[alike[name]] > 1:
            findings.add(catalogue.CLASS_NAME_ALIKE, place)


def _check_objects(annotations: Annotations, findings: Findings) -> None:
    """Report objects that are written twice, crowds, images without objects and classes without objects."""
    repeated = duplicate_boxes(annotations.offsets, annotations.labels, annotations.boxes)
    findings.add_each(catalogue.BOX_DUPLICATE, repeated, annotations.object_place)
    findings.add_each(catalogue.CROWD, np.flatnonzero(annotations.crowd), annotations.object_place)
    without = np.flatnonzero(np.diff(annotations.offsets) == 0)
    findings.add_each(catalogue.IMAGE_WITHOUT_OBJECTS, without, annotations.image_place)
    used = np.bincount(annotations.labels, minlength=len(annotations.class_names))
    unused = np.flatnonzero(used == 0) if len(annotations.labels) else ()
    findings.add_each(catalogue.CLASS_UNUSED, unused, lambda label: repr(annotations.class_names[label]))


def by_policy(findings: Sequence[Finding], on_bad_box: str) -> tuple[Finding, ...]:
    """Return ``findings`` with bad boxes as errors where ``on_bad_box`` is ``error``, errors first."""
    if on_bad_box != "error":
        return tuple(findings)
    error: dict[str, Any] = {"severity": "error", "outcome": "", "why": "dataset.on_bad_box is error"}
    by_policy = {fault.name for fault in catalogue.BAD_BOX}
    judged = [replace(f, fault=replace(f.fault, **error)) if f.fault.name in by_policy else f for f in findings]
    return tuple(sorted(judged, key=lambda finding: finding.fault.severity != "error"))


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise DataError with the first error among ``findings`` and the number of other kinds of errors."""
    errors = [finding for finding in findings if finding.fault.severity == "error"]
    if not errors:
        return
    first, more = errors[0], len(errors) - 1
    fault = first.fault
    what = f"{fault.one if first.count == 1 else f'{first.count} {fault.many}'}: {first.file}"
    if first.places:
        what += f" [{counted(first.places, first.count)}]"
    fix = fault.fix
    if more:
        fix += f"{'; ' if fix else ''}{more} more kind{'s' * (more > 1)} of errors in this file: "
        fix += "python tools/doctor.py dataset=... lists all"
    raise DataError(what, why=fault.why, fix=fix)
