"""Where the splits of a data set stand on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retina.data import remote
from retina.data.dataset import DetectionDataset
from retina.errors import DataError

Split = Mapping[str, str | None]  # {"images": folder, "annotations": file}


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
    exif: str = "ignore"  # or "apply": turn images as the camera noted
    on_bad_box: str = "clip"  # or "drop" or "error": what becomes of boxes that leave their image
    on_bad_image: str = "skip"  # or "error": what training does where an image cannot be read

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
        return DetectionDataset(
            images,
            annotations,
            name=self.name,
            split=split,
            exif=self.exif,
            on_bad_box=self.on_bad_box,
            on_bad_image=self.on_bad_image,
        )

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
