"""YOLO: a text file an image, one object a line, and a data.yaml that names splits and classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from retina.data.catalogue import FILE_NAME_LEAVES_FOLDER
from retina.data.findings import Fault, error, note
from retina.errors import DataError
from retina.formats.data_yaml import DataYaml, read_data_yaml
from retina.formats.folder import FormatFolder, given_classes
from retina.formats.image_files import IMAGE_SUFFIXES, find_images, relative_name
from retina.formats.split_rows import IMAGE_LISTED_TWICE, SplitRows
from retina.ranges import checked

ROW_BROKEN = error(
    "row-broken",
    "row{s} that cannot be read",
    "a row is: class x_center y_center width height, the last four shares of the image",
)
ROW_WITH_SCORE = error(
    "row-with-score",
    "row{ of six values, as a detection with its score is|s of six values, as detections with their score are} written",
    "give the labels, or take the sixth column out if they are labels",
    "what a detector found is not ground truth",
)
CLASS_OUT_OF_RANGE = error(
    "class-out-of-range",
    "row{ with a class number|s with class numbers} that data.yaml does not name",
    "correct the rows, or names and nc in data.yaml",
)
NOT_NORMALISED = error(
    "not-normalised",
    "row{s} with values above 2, where shares of the image are meant",
    "divide x and width by the width of the image, y and height by its height",
    "these look like pixels",
)
OUTLINE = note("outline", "outline{ (polygon)|s (polygons)}", "read as the box around it")
KEYPOINTS = note("keypoints", "object{s} with keypoints", "read as its box")
LABELS_UNREADABLE = error("labels-unreadable", "label file{s} that cannot be read", "a label file is UTF-8 text")
IMAGE_WITHOUT_LABELS = note("image-without-labels", "image{s} without a label file", "taken as images without objects")
NO_LABELS = error(
    "no-labels",
    "split{s} without any label file",
    "labels stand in labels/ beside images/, or beside their images",
    "every image would be trained as background",
)

_FAR_OUTSIDE = 2.0  # shares; a box that leaves its image is clipped, one beyond this is in pixels


@checked
@dataclass(frozen=True)
class YoloFolder(FormatFolder):
    """A data set in YOLO's format; ``root`` is the folder with the data.yaml, or that file itself."""

    name: str = "yolo"
    root: str = "data/yolo"

    @property
    def folder(self) -> Path:
        """Return the folder of the data.yaml."""
        root = Path(self.root).expanduser()
        return root.parent if root.is_file() else root

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of data.yaml, which ``dataset.classes`` may rename."""
        named = self._yaml.names
        listed = given_classes(self.classes, self.folder) if self.classes is not None else None
        if listed is not None and len(listed) != len(named):
            raise DataError(
                f"dataset.classes has {len(listed)} names, but {self._yaml.file} has {len(named)} classes",
                why="the numbers in the label files are positions in the list",
                fix="give as many names, or leave dataset.classes out",
            )
        return tuple(listed or named)

    def has(self, written: str) -> bool:
        return written in self._yaml.splits

    def read_split(self, split: str, written: str) -> tuple[Path, SplitRows]:
        described = self._yaml
        if not (places := described.places(written)):
            raise DataError(
                f"{described.file} has no split {written!r}; it has {', '.join(described.splits)}",
                why=f"dataset.{split} is {written}",
                fix=f"dataset.{split}=NAME, or add the split to the file",
            )
        rows = SplitRows(str(places[0]) if len(places) == 1 else str(described.file), shares=True)
        rows.read(described.raw)
        # Not resolved: images/train may be a link, and labels/ is looked for beside it.
        images = os.path.commonpath([os.path.abspath(described.folder if p.suffix == ".txt" else p) for p in places])
        for place in places:
            if place.suffix == ".txt":
                names = _listed_names(place, described.folder, images, rows)
            else:
                inside = os.path.relpath(place, images)
                names = [os.path.normpath(os.path.join(inside, name)) for name in find_images(str(place))]
            self._read_images(images, names, rows)
        return Path(images), rows

    @property
    def _yaml(self) -> DataYaml:
        return read_data_yaml(Path(self.root).expanduser())

    def _read_images(self, images: str, names: list[str], rows: SplitRows) -> None:
        keypoints, labelled = self._yaml.keypoint_values, 0
        for name in names:
            if name in rows.images:
                rows.findings.add(IMAGE_LISTED_TWICE, f"image {name!r}")
                continue
            image = rows.image(name)
            file = label_file(os.path.join(images, name))
            if file is None:
                rows.findings.add(IMAGE_WITHOUT_LABELS, f"image {name!r}")
                continue
            labelled += 1
            for number, line in _lines(file, rows):
                _add_row(line, f"line {number} of {file}", image, self.class_names, keypoints, rows)
        if names and not labelled:
            rows.findings.add(NO_LABELS, f"looked for {label_places(os.path.join(images, names[0]))[0]}")


def _add_row(
    line: str, where: str, image: int, class_names: tuple[str, ...], keypoint_values: int, rows: SplitRows
) -> None:
    """Add the object of one line of a label file, or say why there is none."""
    shown = f"{where}: {line[:60]!r}"
    try:
        number, *values = map(float, line.split())
        label = int(number)
    except (ValueError, OverflowError):
        rows.findings.add(ROW_BROKEN, shown)
        return
    corners, fault = _corners(values, keypoint_values)
    if corners is None or label != number:
        rows.findings.add(fault or ROW_BROKEN, shown)
    elif not 0 <= label < len(class_names):
        rows.findings.add(CLASS_OUT_OF_RANGE, f"{where}: class {label} of {len(class_names)}")
    elif any(abs(value) > _FAR_OUTSIDE for value in corners):
        rows.findings.add(NOT_NORMALISED, shown)
    else:
        rows.add(image, class_names[label], corners)
        if fault is not None:
            rows.findings.add(fault, where)


def _corners(values: list[float], keypoint_values: int) -> tuple[list[float] | None, Fault | None]:
    """Return x1, y1, x2, y2 as shares and what else the row was; None where it is no object."""
    if len(values) == 4 + keypoint_values:
        x, y, width, height = values[:4]
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        return corners, KEYPOINTS if keypoint_values else None
    if len(values) >= 6 and len(values) % 2 == 0:
        across, down = values[0::2], values[1::2]
        return [min(across), min(down), max(across), max(down)], OUTLINE
    return None, ROW_WITH_SCORE if len(values) == 5 else ROW_BROKEN


def label_places(image: str) -> list[str]:
    """Return where the labels of the file ``image`` may stand: ``labels/`` in place of the last ``images/``, or beside.

    Source: Ultralytics, "Dataset structure" of object detection.
    """
    stem = os.path.splitext(image)[0].replace(os.sep, "/")
    before, found, after = stem.rpartition("/images/")
    return [f"{before}/labels/{after}.txt", f"{stem}.txt"] if found else [f"{stem}.txt"]


def label_file(image: str) -> str | None:
    """Return the label file of ``image``, or None where it has none."""
    return next(filter(os.path.isfile, label_places(image)), None)


def _listed_names(file: Path, folder: Path, images: str, rows: SplitRows) -> list[str]:
    """Return the images that a text file lists, relative to ``images``."""
    names: list[str] = []
    for number, line in _lines(str(file), rows):
        # Lists are written relative to themselves (./images/a.jpg) or to the data set.
        found = [relative_name(images, line, base=os.path.abspath(base)) for base in (file.parent, folder)]
        inside = [name for name in found if name is not None]
        if not inside or not inside[0].lower().endswith(IMAGE_SUFFIXES):
            rows.findings.add(FILE_NAME_LEAVES_FOLDER, f"line {number} of {file}: {line!r}")
            continue
        names.append(next((name for name in inside if os.path.isfile(os.path.join(images, name))), inside[0]))
    return names


def _lines(file: str, rows: SplitRows) -> list[tuple[int, str]]:
    """Return the lines that hold something, with their numbers."""
    try:
        raw = Path(file).read_bytes()
        lines = raw.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as caught:
        reason = caught.strerror if isinstance(caught, OSError) else f"byte {caught.start} is not UTF-8"
        rows.findings.add(LABELS_UNREADABLE, f"{file} ({reason})")
        return []
    rows.read(raw)
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
