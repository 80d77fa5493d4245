"""Where the splits of a data set stand on disk, and what a data set of any format can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from retina.data import remote
from retina.data.annotations import Annotations
from retina.data.catalogue import SPLIT_UNREADABLE
from retina.data.coco.file import inspect_coco
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Place
from retina.errors import DataError
from retina.ranges import checked

Split = Mapping[str, str | None]  # {"images": folder, "annotations": file}


@dataclass(frozen=True)
class Opened:
    """A split as far as it could be read, with everything that speaks against it."""

    split: str
    dataset: DetectionDataset | None  # None: nothing of it can be used
    findings: tuple[Finding, ...]  # of the annotations, errors included
    annotations_file: Path | None = None  # of COCO's format, which can be corrected

    @classmethod
    def of(
        cls, annotations: Annotations | None, findings: tuple[Finding, ...], images: Path | str, **settings: Any
    ) -> Opened:
        """Return what was read; ``settings`` are those of :class:`DetectionDataset`."""
        dataset = None
        if annotations is not None:
            try:
                # Without findings, so that the images are looked at also where the annotations have errors.
                sound = replace(annotations, findings=())
                dataset = DetectionDataset(images, sound, check_folder=False, **settings)
            except DataError as error:
                findings = (*findings, _unreadable(annotations.source, error))
        return cls(settings["split"], dataset, findings)

    @classmethod
    def failed(cls, name: str, split: str, error: DataError) -> Opened:
        """Return the split of data set ``name`` that could not be opened at all."""
        return cls(split, None, (_unreadable(f"{name} {split}", error),))


def _unreadable(file: str, error: DataError) -> Finding:
    fault = replace(SPLIT_UNREADABLE, fix=error.fix, outcome=error.why)
    return Finding(fault, file, 1, (Place(error.what),))


class DataFolder(Protocol):
    """A data set as the section ``dataset`` gives it, whatever its format."""

    @property
    def name(self) -> str: ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits that are there."""

    def open(self, split: str) -> DetectionDataset:
        """Return the data set of ``split``; DataError where it is not given, or its files cannot be used."""

    def inspect(self, split: str) -> Opened:
        """Return what could be read of ``split`` with all findings; nothing is raised for what is wrong with it."""


@checked
@dataclass(frozen=True)
class CocoFolder:
    """A data set of COCO-format splits; paths are relative to ``root`` unless they are absolute.

    ``root`` may be an address such as ``s3://bucket/coco``, read through fsspec.
    """

    name: str
    root: str | None = None  # None: relative to the working directory
    train: Split | None = None
    val: Split | None = None
    test: Split | None = None
    exif: Literal["ignore", "apply"] = "ignore"  # apply: turn images as the camera noted
    on_bad_box: Literal["clip", "drop", "error"] = "clip"  # what becomes of boxes that leave their image
    on_bad_image: Literal["skip", "error"] = "skip"  # what training does where an image cannot be read

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name for name, split in self._given().items() if split and split.get("annotations"))

    def open(self, split: str) -> DetectionDataset:
        images, file = self._places(split)
        return DetectionDataset(images, file, on_bad_box=self.on_bad_box, **self._settings(split))

    def inspect(self, split: str) -> Opened:
        try:
            images, file = self._places(split)
        except DataError as error:
            return Opened.failed(self.name, split, error)
        opened = Opened.of(*inspect_coco(file, on_bad_box=self.on_bad_box), images, **self._settings(split))
        return replace(opened, annotations_file=file if isinstance(file, Path) else None)

    def _given(self) -> dict[str, Split | None]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def _settings(self, split: str) -> dict[str, Any]:
        return {"name": self.name, "split": split, "exif": self.exif, "on_bad_image": self.on_bad_image}

    def _places(self, split: str) -> tuple[Path | str, Path | str]:
        """Return the folder of images and the annotation file."""
        if split not in self.splits:
            setting = f"dataset.{split}.annotations"
            raise DataError(
                f"data set {self.name!r} has no split {split!r}; it has {', '.join(self.splits) or 'none'}",
                why=f"{setting} is not given",
                fix=f"dataset.{split}.images=FOLDER {setting}=FILE",
            )
        given = self._given()[split] or {}
        if not given.get("images"):
            raise DataError(
                f"data set {self.name!r} has no folder of {split} images",
                why=f"dataset.{split}.images is not given",
                fix=f"dataset.{split}.images=FOLDER",
            )
        images = self._existing(split, "images", str(given["images"]))
        return images, self._existing(split, "annotations", str(given["annotations"]))

    def _existing(self, split: str, part: str, path: str) -> Path | str:
        found: Path | str
        if remote.is_remote(path) or (remote.is_remote(self.root) and not Path(path).is_absolute()):
            found = path if remote.is_remote(path) else remote.join(str(self.root), path)
            # Object stores have no folders: the first image tells whether the address is right.
            is_there = part == "images" or remote.exists(found)
        else:
            found = Path(self.root or "", path).expanduser()
            is_there = found.exists()
        if is_there:
            return found
        setting, kind = f"dataset.{split}.{part}", "FOLDER" if part == "images" else "FILE"
        why = f"dataset.root is {self.root} and {setting} is {path}"
        if Path(path).is_absolute():
            why = f"{setting} says so"
        elif self.root is None:
            why = f"{setting} is {path}, looked for in the working directory {Path.cwd()} (dataset.root is not given)"
        raise DataError(
            f"the {split} {part} of data set {self.name!r} are missing: {found}",
            why=why,
            fix=f"dataset.root=FOLDER (the folder that holds {path}), or {setting}={kind}",
        )
