"""Where the splits of a data set stand on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retina.data.dataset import DetectionDataset
from retina.errors import DataError

Split = Mapping[str, str | None]  # {"images": folder, "annotations": file}


@dataclass(frozen=True)
class CocoFolder:
    """A data set of COCO-format splits; paths are relative to ``root`` unless they are absolute."""

    name: str
    root: str | None = None  # None: relative to the working directory
    train: Split | None = None
    val: Split | None = None
    test: Split | None = None
    exif: str = "ignore"  # or "apply": turn images as the camera noted

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits that are given."""
        given = {"train": self.train, "val": self.val, "test": self.test}
        return tuple(name for name, split in given.items() if split and split.get("annotations"))

    def open(self, split: str) -> DetectionDataset:
        """Return the data set of ``split``.

        Raises:
            DataError: the split is not given, its files are missing or cannot be used.
        """
        if split not in self.splits:
            setting = f"dataset.{split}.annotations"
            raise DataError(
                f"data set {self.name!r} has no split {split!r}; it has {', '.join(self.splits) or 'none'}",
                why=f"{setting} is not given",
                fix=f"dataset.{split}.images=FOLDER {setting}=FILE",
            )
        paths = getattr(self, split)
        if not paths.get("images"):
            raise DataError(
                f"data set {self.name!r} has no folder of {split} images",
                why=f"dataset.{split}.images is not given",
                fix=f"dataset.{split}.images=FOLDER",
            )
        images = self._existing(split, "images", paths["images"])
        annotations = self._existing(split, "annotations", paths["annotations"])
        return DetectionDataset(images, annotations, name=self.name, split=split, exif=self.exif)

    def _existing(self, split: str, part: str, path: str) -> Path:
        found = Path(self.root or "", path).expanduser()
        if found.exists():
            return found
        setting, kind = f"dataset.{split}.{part}", "FOLDER" if part == "images" else "FILE"
        if self.root is None and not Path(path).is_absolute():
            why = f"{setting} is {path}, looked for in the working directory {Path.cwd()} (dataset.root is not given)"
        elif Path(path).is_absolute():
            why = f"{setting} says so"
        else:
            why = f"dataset.root is {self.root} and {setting} is {path}"
        raise DataError(
            f"the {split} {part} of data set {self.name!r} are missing: {found}",
            why=why,
            fix=f"dataset.root=FOLDER (the folder that holds {path}), or {setting}={kind}",
        )
