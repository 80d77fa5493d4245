"""What data sets in folders of other formats than COCO have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from retina.data.annotations import Annotations, refuse_errors
from retina.data.dataset import DetectionDataset
from retina.data.folders import Opened
from retina.errors import DataError
from retina.formats.class_list import given_classes
from retina.formats.split_rows import SplitRows

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class FormatFolder(ABC):
    """A data set whose splits have one list of classes, whatever classes occur in each."""

    name: str
    root: str
    train: str | None = "train"
    val: str | None = "val"
    test: str | None = "test"
    classes: list[str] | str | None = None  # names, or a text file; None: root/classes.txt, else those that are found
    exif: str = "ignore"  # or "apply": turn images as the camera noted
    on_bad_box: str = "clip"
    on_bad_image: str = "skip"

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits that are there."""
        return tuple(split for split in SPLITS if self._is_there(split))

    @property
    def class_names(self) -> list[str]:
        """Return the classes of the data set in the order of their labels.

        Raises:
            DataError: they have to be found, and a split cannot be read.
        """
        return list(self._class_names)

    def open(self, split: str) -> DetectionDataset:
        """Return the data set of ``split``.

        Raises:
            DataError: it is not there or cannot be used.
        """
        images, annotations = self._annotations(split)
        refuse_errors(annotations.findings)
        return DetectionDataset(images, annotations, **self._settings(split))

    def inspect(self, split: str) -> Opened:
        """Return what could be read of ``split`` with everything that was found, errors included."""
        try:
            images, annotations = self._annotations(split)
        except DataError as error:
            return Opened.failed(self.name, split, error)
        return Opened.of(annotations, annotations.findings, images, **self._settings(split))

    def _settings(self, split: str) -> dict[str, Any]:
        return {"name": self.name, "split": split, "exif": self.exif, "on_bad_image": self.on_bad_image}

    def images_folder(self, split: str) -> Path:
        """Return the folder that the file names of ``split`` are relative to."""
        return Path(self._rows(split)[0])

    @property
    def folder(self) -> Path:
        """Return ``root`` as a path."""
        return Path(self.root).expanduser()

    @abstractmethod
    def read_split(self, split: str) -> tuple[Path, SplitRows]:
        """Read ``split``; return its folder of images and what is in it.

        Raises:
            DataError: it is not there.
        """

    @abstractmethod
    def _is_there(self, split: str) -> bool: ...

    def _annotations(self, split: str) -> tuple[Path, Annotations]:
        if split not in SPLITS or getattr(self, split) is None:
            raise DataError(
                f"data set {self.name!r} has no split {split!r}; it has {', '.join(self.splits) or 'none'}",
                why=f"dataset.{split} is not given" if split in SPLITS else "splits are train, val and test",
                fix=f"split={self.splits[-1]}" if self.splits else "",
            )
        if not self.folder.exists():
            raise DataError(
                f"data set {self.name!r} is missing: {self.folder}",
                why=f"dataset.root is {self.root}, looked for from {Path.cwd()}",
                fix="dataset.root=FOLDER",
            )
        images, rows = self._rows(split)
        names = self._class_names  # may read the other splits
        self._read.pop(split)  # it would stay in memory for the whole run
        root = os.path.realpath(images)
        policies: dict[str, Any] = {"on_bad_box": self.on_bad_box, "on_bad_image": self.on_bad_image}
        return images, rows.annotations(names, root, exif=self.exif, **policies)

    @cached_property
    def _read(self) -> dict[str, tuple[Path, SplitRows]]:
        """Hold splits that were read for the list of classes until they are opened."""
        return {}

    def _rows(self, split: str) -> tuple[Path, SplitRows]:
        if split not in self._read:
            self._read[split] = self.read_split(split)
        return self._read[split]

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        listed = given_classes(self.classes, self.folder)
        if listed is not None:
            return tuple(listed)
        return tuple(sorted({name for split in self.splits for name in self._rows(split)[1].classes}))
