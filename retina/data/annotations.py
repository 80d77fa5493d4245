"""Annotations of any format as flat arrays, with everything that was found wrong or odd in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retina.data import catalogue
from retina.data.annotation_checks import Draft, check_names, check_objects, usable_boxes
from retina.data.box_checks import near_duplicate_pairs
from retina.data.coco.file import read_coco
from retina.data.coco.records import NO_ID, annotation_name, image_place, object_place
from retina.data.findings import Finding, Findings, Place
from retina.data.flat_text import FlatText
from retina.errors import ConfigError, DataError, counted

__all__ = ["NO_ID", "Annotations", "annotation_name", "build_annotations", "by_policy", "inspect_coco",
           "near_duplicate_boxes", "read_annotations", "refuse_errors"]  # fmt: skip


ON_BAD_BOX = ("clip", "drop", "error")
ON_BAD_IMAGE = ("skip", "error")


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
        """Return the findings in sentences."""
        return tuple(str(finding) for finding in self.findings)

    def image_place(self, index: int, detail: str = "") -> Place:
        """Return how a message names image ``index``: ``image 17 'a.jpg'``, and what else there is to say of it."""
        return image_place(int(self.image_ids[index]), self.file_names[index], detail)

    def object_place(self, index: int) -> Place:
        """Return how a message names object ``index``: ``annotation 880011, image 17 'a.jpg'``."""
        return object_place(int(self.object_ids[index]), self.image_place(self.owner(index)))

    def owner(self, index: int) -> int:
        """Return the image of object ``index``."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def __reduce__(self) -> Any:
        """Pickle by the path of the cache where there is one, so that a process that is spawned maps the same pages."""
        if self.cache is None:
            return Annotations, tuple(vars(self).values())
        from retina.data.cache_folder import open_folder

        return open_folder, (self.cache, self.source, self.findings)


def build_annotations(
    *,
    source: str,
    category_ids: Sequence[int],
    class_names: Sequence[str],
    image_ids: Sequence[int] | np.ndarray,
    file_names: Iterable[str],
    sizes: np.ndarray,
    image_of_object: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    crowd: np.ndarray,
    object_ids: np.ndarray,
    findings: Findings,
    fingerprint: str,
    on_bad_box: str = "clip",
) -> Annotations:
    """Return annotations whose boxes can be used, sorted by image; what is wrong is added to ``findings``.

    Nothing is raised for errors among the findings: :func:`refuse_errors` does.

    Args:
        source: the file or folder that was read, for messages.
        category_ids: ``(K,)`` ascending.
        class_names: ``(K,)``.
        image_ids: ``(n,)``, each once.
        file_names: ``(n,)``, relative to the folder of images.
        sizes: ``(n, 2)`` whole numbers (height, width), at least 1.
        image_of_object: ``(m,)`` positions in ``image_ids``.
        labels: ``(m,)`` positions in ``category_ids``.
        boxes: ``(m, 4)`` xywh in pixels, any values.
        areas: ``(m,)``.
        crowd: ``(m,)`` bool.
        object_ids: ``(m,)``; ``NO_ID + number`` where there is none.
        findings: what was found while reading.
        fingerprint: sha256 of what was read.
        on_bad_box: ``clip``: a box that leaves its image is clipped, one that cannot be used is left out; ``drop``:
            both are left out; ``error``: both become errors.
    """
    if on_bad_box not in ON_BAD_BOX:
        raise ConfigError(f"dataset.on_bad_box must be one of {', '.join(ON_BAD_BOX)}, got {on_bad_box!r}")
    image_ids, sizes = np.asarray(image_ids, dtype=np.int64), np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    names = file_names if isinstance(file_names, FlatText) else FlatText(file_names)
    owner, boxes = np.asarray(image_of_object), np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    draft = Draft(findings, image_ids, names, np.asarray(object_ids, dtype=np.int64), owner)
    order, training_boxes = usable_boxes(draft, boxes, sizes, on_bad_box)

    def kept(column: np.ndarray) -> np.ndarray:
        return column if order is None else column[order]

    counts = np.bincount(kept(owner), minlength=len(image_ids))
    annotations = Annotations(
        source=source,
        category_ids=tuple(int(number) for number in category_ids),
        class_names=tuple(class_names),
        image_ids=image_ids,
        file_names=names,
        sizes=sizes,
        boxes=kept(boxes),
        training_boxes=kept(training_boxes),
        labels=kept(np.asarray(labels, dtype=np.int64)),
        areas=kept(np.asarray(areas, dtype=np.float64)),
        crowd=kept(np.asarray(crowd, dtype=bool)),
        object_ids=kept(draft.object_ids),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        findings=(),
        fingerprint=fingerprint,
    )
    check_names(annotations, findings)
    check_objects(annotations, findings)
    return replace(annotations, findings=by_policy(findings.all(), on_bad_box))


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


def near_duplicate_boxes(annotations: Annotations, *, iou: float = 0.9) -> np.ndarray:
    """Return ``(p, 2)`` positions of objects, no crowds, of one image and class that overlap by more than ``iou``.

    Boxes that are equal are left to the finding ``box-duplicate``.
    """
    labels = np.where(annotations.crowd, -1, annotations.labels)
    pairs = near_duplicate_pairs(annotations.offsets, labels, annotations.training_boxes, iou=iou)
    first, second = annotations.boxes[pairs[:, 0]], annotations.boxes[pairs[:, 1]]
    return pairs[(first != second).any(axis=1)]


def inspect_coco(path: str | Path, *, on_bad_box: str = "clip") -> tuple[Annotations | None, tuple[Finding, ...]]:
    """Return what can be used of a COCO file and everything that was found in it, errors included.

    Nothing is raised for what is wrong with the file, and nothing is written. None: nothing can be used.
    """
    content, findings, fingerprint = read_coco(path)
    if content is None:
        return None, findings.all()
    annotations = build_annotations(
        source=str(path), **vars(content), findings=findings, fingerprint=fingerprint, on_bad_box=on_bad_box
    )
    return annotations, annotations.findings


def read_annotations(path: str | Path, *, on_bad_box: str = "clip") -> Annotations:
    """Return the content of a COCO file; nothing is taken from or written to a cache.

    Raises:
        DataError: there are errors among the findings.
    """
    annotations, findings = inspect_coco(path, on_bad_box=on_bad_box)
    refuse_errors(findings)
    if annotations is None:
        raise ValueError(f"{path} has neither content nor errors")
    return annotations
