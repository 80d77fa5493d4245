"""Images and boxes of one split as a reader meets them, and how they become flat arrays."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retina.data.annotations import NO_ID, Annotations, OnBadBox, RawAnnotations, annotation_name, build_annotations
from retina.data.catalogue import LEFT_OUT
from retina.data.findings import Findings, error, warning
from retina.data.flat_text import FlatText
from retina.formats.image_files import image_sizes

CLASS_UNKNOWN = error(
    "class-unknown",
    "object{ of a class that is|s of classes that are} not in the list of classes",
    "add the class to dataset.classes or to the list's file, or correct its name",
    "every object belongs to one of the classes that the network has an output for",
)
NO_IMAGES = error("no-images", "split{s} without images", "name the folder that holds the images")
NO_CLASSES = error(
    "no-classes",
    "data set{s} without classes",
    "dataset.classes=[first,second,...]",
    "no object is in it that would name a class",
)
IMAGE_LISTED_TWICE = warning("image-listed-twice", "image{s} listed more than once", "taken once")
IMAGE_UNREADABLE = warning("image-unreadable", "image{s} whose size cannot be read", LEFT_OUT, "replace the files")


class SplitRows:
    """What was read of one split; classes by name, boxes as corners in pixels or, until sizes are known, as shares."""

    def __init__(self, source: str, *, shares: bool = False) -> None:
        """Args: ``source`` names file or folder in messages."""
        self.source, self.shares = source, shares
        self.findings = Findings(source)
        self.images: dict[str, int] = {}  # file name relative to the folder of images -> position
        self.sizes: list[tuple[int, int] | None] = []  # (height, width); None: in the image's header
        self.classes: dict[str, int] = {}  # name -> code, in the order of the first object
        self._boxes, self._owner, self._codes = array("d"), array("q"), array("q")
        self._ignored, self._ids = array("b"), array("q")
        self._num_of_image: list[int] = []
        self._hash = hashlib.sha256()

    def read(self, content: bytes) -> None:
        """Let ``content`` of an annotation file count for the fingerprint."""
        self._hash.update(len(content).to_bytes(8, "little"))
        self._hash.update(content)

    def image(self, file_name: str, size: tuple[int, int] | None = None) -> int:
        """Return the position of the image called ``file_name``, which is new or was met before."""
        position = self.images.setdefault(file_name, len(self.sizes))
        if position == len(self.sizes):
            self.sizes.append(size)
            self._num_of_image.append(0)
        elif size is not None and self.sizes[position] is None:
            self.sizes[position] = size
        return position

    def add(
        self, image: int, class_name: str, corners: Sequence[float], *, ignored: bool = False, number: int | None = None
    ) -> None:
        """Add an object of the image at position ``image`` with ``corners`` x1, y1, x2, y2 of any values.

        ``ignored`` is neither object nor background; messages name it by ``number``, or its place in its image.
        """
        self._boxes.extend(corners)
        self._owner.append(image)
        self._codes.append(self.classes.setdefault(class_name, len(self.classes)))
        self._ignored.append(ignored)
        self._ids.append(NO_ID + self._num_of_image[image] if number is None else number)
        self._num_of_image[image] += 1

    def annotations(
        self, class_names: Sequence[str], root: str, *, exif: str, on_bad_box: OnBadBox, on_bad_image: str
    ) -> Annotations:
        """Return the flat arrays: images sorted by file name with ids from 1, category ids label + 1.

        ``class_names`` are those of the whole data set. The headers of the images below ``root``, a resolved path, tell
        the sizes that are not known. Errors are among the findings: ``retina.data.annotations.refuse_errors`` raises.
        """
        names, sizes, rank = self._sorted_images(root, exif, on_bad_image)
        if not names and not self.findings.counts:
            self.findings.add(NO_IMAGES)
        if not class_names:
            self.findings.add(NO_CLASSES)
        owner = rank[np.array(self._owner, dtype=np.int64)]
        labels = self._labels(class_names, owner, names)
        kept = (owner >= 0) & (labels >= 0)  # what goes with an image that was left out was counted with it
        owner, labels = owner[kept], labels[kept]
        corners = np.array(self._boxes, dtype=np.float64).reshape(-1, 4)[kept]
        if self.shares:
            corners *= sizes[owner][:, [1, 0, 1, 0]]
        with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite are about to be left out
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            areas = boxes[:, 2] * boxes[:, 3]
        raw = RawAnnotations(
            category_ids=tuple(range(1, len(class_names) + 1)),
            class_names=tuple(class_names),
            image_ids=np.arange(1, len(names) + 1, dtype=np.int64),
            file_names=FlatText(names),
            sizes=sizes,
            image_of_object=owner,
            labels=labels,
            boxes=boxes,
            areas=areas,
            crowd=np.array(self._ignored, dtype=bool)[kept],
            object_ids=np.array(self._ids, dtype=np.int64)[kept],
        )
        read = self._hash.copy()
        for name in [*sorted(self.images), "", *class_names]:
            read.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return build_annotations(
            raw, self.findings, source=self.source, fingerprint=read.hexdigest(), on_bad_box=on_bad_box
        )

    def _sorted_images(self, root: str, exif: str, on_bad_image: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return names and sizes of the images that stay, and the new position of each old one (-1: left out)."""
        names = sorted(self.images)
        unknown = [name for name in names if self.sizes[self.images[name]] is None]
        probed = dict(zip(unknown, image_sizes(root, unknown, exif=exif), strict=True))
        fault = IMAGE_UNREADABLE if on_bad_image == "skip" else replace(IMAGE_UNREADABLE, severity="error", outcome="")
        rank = np.full(len(names) + 1, -1, dtype=np.int64)  # one more: an index of nothing is fine, too
        kept: list[str] = []
        sizes: list[tuple[int, int]] = []
        for name in names:
            size = self.sizes[self.images[name]] or probed[name]
            if isinstance(size, str):
                lost = self._num_of_image[self.images[name]]
                self.findings.add(fault, f"{size}, objects in it: {lost}" if lost else size)
                continue
            rank[self.images[name]] = len(kept)
            kept.append(name)
            sizes.append(size)
        if names and not kept:
            self.findings.add(NO_IMAGES)
        return kept, np.array(sizes, dtype=np.int64).reshape(-1, 2), rank

    def _labels(self, class_names: Sequence[str], owner: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the label of each object, -1 for those of a class that is not listed, which are counted and named."""
        label_of = {name: label for label, name in enumerate(class_names)}
        codes, met = np.array(self._codes, dtype=np.int64), list(self.classes)
        labels = np.array([label_of.get(name, -1) for name in met], dtype=np.int64)[codes]

        def place(index: int) -> str:
            image = f"image {names[owner[index]]!r}" if owner[index] >= 0 else "an image that was left out"
            return f"{met[codes[index]]!r}: {annotation_name(self._ids[index])}, {image}"

        self.findings.add_each(CLASS_UNKNOWN, np.flatnonzero(labels < 0), place)
        return labels
