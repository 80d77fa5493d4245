"""A table of boxes: ``image,x1,y1,x2,y2,class``, one object a line, an empty row for an image without objects."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from retina.data.catalogue import FILE_NAME_LEAVES_FOLDER
from retina.data.findings import error
from retina.errors import DataError
from retina.formats.folder import FormatFolder, read_text
from retina.formats.image_files import relative_name
from retina.formats.split_rows import SplitRows
from retina.ranges import checked

ROW_BROKEN = error(
    "row-broken",
    "line{s} that cannot be read",
    "a line is: image,x1,y1,x2,y2,class, or image,,,,, for an image without objects",
)

# What the columns are called, in small letters; the first name is the one that is written.
COLUMNS = {
    "image": ("image", "image_path", "filename", "file_name", "file", "path", "img", "img_path", "image_name"),
    "x1": ("x1", "xmin", "x_min", "left"),
    "y1": ("y1", "ymin", "y_min", "top"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
    "class": ("class", "class_name", "label", "name", "category"),
}
_SIZE = {"height": ("height", "image_height", "img_height"), "width": ("width", "image_width", "img_width")}
_DELIMITERS = (",", ";", "\t")
_NOTHING = ("", "nan")  # how tables write a cell without a value


@checked
@dataclass(frozen=True)
class CsvFolder(FormatFolder):
    """A data set of one table a split; tables are relative to ``root``, images to ``images``."""

    name: str = "csv"
    root: str = "data/csv"
    images: str | None = None  # the folder that the names of images are relative to; None: root
    train: str | None = "train.csv"
    val: str | None = "val.csv"
    test: str | None = "test.csv"

    def has(self, written: str) -> bool:
        return Path(self.folder, written).expanduser().is_file()

    def read_split(self, split: str, written: str) -> tuple[Path, SplitRows]:
        file, images = (Path(self.folder, place or "").expanduser() for place in (written, self.images))
        needed = ((file, "table", f"dataset.{split}=FILE"), (images, "folder of images", "dataset.images=FOLDER"))
        for path, what, setting in needed:
            if not path.exists():
                raise DataError(
                    f"the {what} of split {split!r} of data set {self.name!r} is missing: {path}",
                    why=f"dataset.root is {self.root}",
                    fix=f"dataset.root=FOLDER, or {setting}",
                )
        rows = SplitRows(str(file))
        # An image has a row for each of its objects, mostly one after the other.
        inside = lru_cache(maxsize=1024)(partial(relative_name, os.path.realpath(images)))
        for number, cells in _records(file, rows):
            _add_row(cells, number, inside, rows)
        return images, rows


def _add_row(cells: dict[str, str], number: int, inside: Callable[[str], str | None], rows: SplitRows) -> None:
    """Add the object or the empty image of one line, or say what is wrong with it."""
    if not cells["image"]:
        rows.findings.add(ROW_BROKEN, f"line {number}: no image")
        return
    if (name := inside(cells["image"])) is None:
        rows.findings.add(FILE_NAME_LEAVES_FOLDER, f"line {number}: {cells['image']!r}")
        return
    image = rows.image(name, _size(cells))
    texts = [cells[column] for column in ("x1", "y1", "x2", "y2")]
    if all(text.lower() in _NOTHING for text in (*texts, cells["class"])):
        return
    if (corners := _corners(texts)) is None:
        rows.findings.add(ROW_BROKEN, f"line {number}, image {name!r}: corners {', '.join(map(repr, texts))}")
    elif not cells["class"]:
        rows.findings.add(ROW_BROKEN, f"line {number}, image {name!r}: no class")
    else:
        rows.add(image, cells["class"], corners, number=number)


def _corners(texts: Sequence[str]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def _size(cells: dict[str, str]) -> tuple[int, int] | None:
    sides = [cells.get(side, "") for side in _SIZE]
    return (int(sides[0]), int(sides[1])) if all(side.isdecimal() and int(side) > 0 for side in sides) else None


def _records(file: Path, rows: SplitRows) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each line that has cells with its number; lines that do not fit the columns are counted."""
    raw, text = read_text(file, "the table")
    rows.read(raw)
    first = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count), strict=True)
    positions: dict[str, int] | None = None
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            if positions is None:
                positions, is_header = _positions(cells, file)
                if is_header:
                    continue
            if len(cells) <= max(positions.values()):
                rows.findings.add(ROW_BROKEN, f"line {reader.line_num}: {len(cells)} cells")
                continue
            yield reader.line_num, {column: cells[position] for column, position in positions.items()}
    except csv.Error as caught:
        rows.findings.add(ROW_BROKEN, f"line {reader.line_num}: {caught}; what follows is not read")


def _positions(cells: Sequence[str], file: Path) -> tuple[dict[str, int], bool]:
    """Return where each column stands, and whether the first line is a header; without one it must be an object."""
    lower = [cell.lower() for cell in cells]
    positions = {}
    for column, names in (COLUMNS | _SIZE).items():
        if found := [lower.index(name) for name in names if name in lower]:
            positions[column] = found[0]
    if positions.keys() >= COLUMNS.keys():
        return positions, True
    if len(cells) == len(COLUMNS) and _corners([cell or "nan" for cell in cells[1:5]]) is not None:
        return {column: position for position, column in enumerate(COLUMNS)}, False
    raise DataError(
        f"the first line of the table is neither a header nor an object: {file}",
        why=f"it is {', '.join(map(repr, cells[:8]))}",
        fix="begin it with image,x1,y1,x2,y2,class, in any order; corners are pixels",
    )
