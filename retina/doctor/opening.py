"""Opening a split for examination: as far as it can be opened, with everything that speaks against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retina.data.annotations import Annotations, inspect_coco
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Findings
from retina.data.folders import CocoFolder
from retina.doctor.kinds import UNREADABLE
from retina.errors import DataError
from retina.formats.folder import FormatFolder


@dataclass(frozen=True)
class Opened:
    """One split: its data set where it could be opened at all, and what the annotations showed."""

    split: str
    dataset: DetectionDataset | None
    findings: tuple[Finding, ...]
    annotations_file: Path | None  # of COCO's format, which can be corrected


def open_split(folder: Any, split: str) -> Opened:
    """Return what could be opened of ``split`` and all findings of its annotations, errors included."""
    if isinstance(folder, CocoFolder):
        paths = getattr(folder, split)
        root = Path(folder.root or "")
        images, annotations = (
            Path(root, paths[part] or "").expanduser() if paths.get(part) else None
            for part in ("images", "annotations")
        )
        if images is not None and images.is_dir() and annotations is not None and annotations.exists():
            return _open_coco(folder, split, images, annotations)
    try:
        if isinstance(folder, FormatFolder):
            read, findings = folder.inspect(split)
            return _opened(folder, split, read, findings, folder.images_folder(split), None)
        dataset = folder.open(split)
    except DataError as error:
        return Opened(split, None, _unreadable(f"{folder.name} {split}", error), None)
    file = dataset.annotations_file
    return Opened(split, dataset, tuple(dataset.findings), file if file.suffix == ".json" else None)


def _open_coco(folder: CocoFolder, split: str, images: Path, file: Path) -> Opened:
    annotations, findings = inspect_coco(file, on_bad_box=folder.on_bad_box)
    return _opened(folder, split, annotations, findings, images, file)


def _opened(
    folder: CocoFolder | FormatFolder,
    split: str,
    annotations: Annotations | None,
    findings: tuple[Finding, ...],
    images: Path,
    file: Path | None,
) -> Opened:
    if annotations is None:
        return Opened(split, None, findings, file)
    try:
        # Without findings, so that the images are looked at also where the annotations have errors.
        dataset = DetectionDataset(
            images,
            replace(annotations, findings=()),
            name=folder.name,
            split=split,
            exif=folder.exif,
            on_bad_image=folder.on_bad_image,
            check_folder=False,
        )
    except DataError as error:
        return Opened(split, None, (*findings, *_unreadable(str(file or images), error)), file)
    return Opened(split, dataset, findings, file)


def _unreadable(file: str, error: DataError) -> tuple[Finding, ...]:
    findings = Findings(file)
    findings.add(replace(UNREADABLE, fix=error.fix, outcome=error.why), error.what)
    return findings.all()
