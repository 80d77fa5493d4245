"""What data sets in folders of other formats than COCO have in common: splits, policies, one list of classes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from retina.data.annotations import Annotations
from retina.data.dataset import DetectionDataset
from retina.data.folders import Opened
from retina.errors import ConfigError, DataError, first_five
from retina.formats.split_rows import SplitRows

SPLITS = ("train", "val", "test")
CLASSES_FILE = "classes.txt"


@dataclass(frozen=True)
class FormatFolder(ABC):
    """A data set whose splits have one list of classes, whatever classes occur in each.

    A format is a class that says where a split is (``has``) and reads it (``read_split``).
    """

    name: str
    root: str
    train: str | None = "train"
    val: str | None = "val"
    test: str | None = "test"
    classes: list[str] | str | None = None  # names, or a text file; None: root/classes.txt, else those that are found
    exif: Literal["ignore", "apply"] = "ignore"  # apply: turn images as the camera noted
    on_bad_box: Literal["clip", "drop", "error"] = "clip"
    on_bad_image: Literal["skip", "error"] = "skip"

    @abstractmethod
    def has(self, written: str) -> bool:
        """Return whether the split that is written ``written`` in the configuration is there."""

    @abstractmethod
    def read_split(self, split: str, written: str) -> tuple[Path, SplitRows]:
        """Return the folder of images of ``split`` and what is in it; DataError where it is not there."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if (written := getattr(self, split)) and self.has(written))

    @property
    def folder(self) -> Path:
        return Path(self.root).expanduser()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes of the data set in the order of their labels; finding them reads every split."""
        listed = given_classes(self.classes, self.folder)
        if listed is None:
            listed = sorted({name for split in self.splits for name in self._rows(split)[1].classes})
        return tuple(listed)

    def open(self, split: str) -> DetectionDataset:
        return DetectionDataset(*self._annotations(split), **self._settings(split))

    def inspect(self, split: str) -> Opened:
        try:
            images, annotations = self._annotations(split)
        except DataError as error:
            return Opened.failed(self.name, split, error)
        return Opened.of(annotations, annotations.findings, images, **self._settings(split))

    def _settings(self, split: str) -> dict[str, Any]:
        return {"name": self.name, "split": split, "exif": self.exif, "on_bad_image": self.on_bad_image}

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
        names = self.class_names  # may read the other splits
        self._read.pop(split)  # it would stay in memory for the whole run
        root = os.path.realpath(images)
        return images, rows.annotations(
            names, root, exif=self.exif, on_bad_box=self.on_bad_box, on_bad_image=self.on_bad_image
        )

    @cached_property
    def _read(self) -> dict[str, tuple[Path, SplitRows]]:
        """Hold splits that were read for the list of classes until they are opened."""
        return {}

    def _rows(self, split: str) -> tuple[Path, SplitRows]:
        if split not in self._read:
            self._read[split] = self.read_split(split, getattr(self, split))
        return self._read[split]


def given_classes(classes: Sequence[str] | str | None, root: Path) -> list[str] | None:
    """Return the names of the classes in their order, or None where they have to be found in the annotations.

    The setting ``classes`` is names, or a text file below ``root`` with one name a line (``name,id`` is read as well,
    then the ids give the order). None: ``root/classes.txt`` where it exists.
    """
    if classes is not None and not isinstance(classes, str):
        return check_class_names(list(classes), "dataset.classes")
    file = Path(root, classes or CLASSES_FILE).expanduser()
    if classes is None and not file.is_file():
        return None
    lines = [line.strip() for line in read_text(file, "the list of classes")[1].splitlines() if line.strip()]
    parts = [line.rpartition(",") for line in lines]
    if parts and all(name and number.strip().isdecimal() for name, _, number in parts):
        lines = [name.strip() for name, _, number in sorted(parts, key=lambda part: int(part[2]))]
    return check_class_names(lines, str(file))


def check_class_names(names: list[str], where: str) -> list[str]:
    """Return ``names``; ConfigError where one is no text, empty or there twice."""
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(map(str, names))) < len(names) else []
    if wrong or twice or not names:
        what = f"twice: {first_five(twice)}" if twice else f"that are no names: {first_five(wrong)}"
        raise ConfigError(
            f"{where} has classes {what}" if names else f"{where} has no classes",
            why="every class needs one name of its own",
            fix="dataset.classes=[first,second,...], or a text file with one name a line",
        )
    return names


def read_text(file: Path, what: str) -> tuple[bytes, str]:
    """Return content and text of ``file``, UTF-8 with or without a byte order mark; errors call it ``what``."""
    try:
        raw = file.read_bytes()
        return raw, raw.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{what} cannot be read ({error.strerror}): {file}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is not UTF-8 text (byte {error.start}): {file}", fix="save it as UTF-8") from None
