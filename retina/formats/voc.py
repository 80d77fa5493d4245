"""Pascal VOC: an XML file an image, splits as lists of names or as folders."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from retina.data.catalogue import FILE_NAME_LEAVES_FOLDER
from retina.data.findings import error, note, warning
from retina.errors import DataError
from retina.formats.folder import FormatFolder, read_text
from retina.formats.image_files import find_images, image_of_stem, relative_name
from retina.formats.split_rows import IMAGE_LISTED_TWICE, SplitRows
from retina.ranges import checked

XML_UNUSABLE = error(
    "xml-unusable", "annotation file{s} that cannot be used", "write them again, or take the images out of the split"
)
XML_MISSING = error(
    "xml-missing",
    "listed image{s} without an annotation file",
    "put the files there, or correct the list",
    "its objects would be trained as background",
)
IMAGE_WITHOUT_XML = warning(
    "image-without-xml", "image{s} without an annotation file", "taken as images without objects"
)
XML_WITHOUT_IMAGE = warning("xml-without-image", "annotation file{s} without an image", "left out")
OBJECT_BROKEN = error(
    "object-broken",
    "object{s} that cannot be read",
    "an <object> has a <name> and a <bndbox> of <xmin> <ymin> <xmax> <ymax>",
)
DIFFICULT = note("difficult", "object{s} marked difficult")

CORNERS = ("xmin", "ymin", "xmax", "ymax")
MAX_BYTES = 16 * 2**20  # of an XML file: the annotations of one image are some kilobytes
_OUTCOMES = {
    "ignore": "regions that are neither objects nor background (dataset.difficult=ignore)",
    "object": "objects like others (dataset.difficult=object)",
    "drop": "left out (dataset.difficult=drop)",
}
_IMAGES, _ANNOTATIONS = ("JPEGImages", "images"), ("Annotations", "annotations")
_LISTS = ("ImageSets/Main", "ImageSets", ".")


@checked
@dataclass(frozen=True)
class VocFolder(FormatFolder):
    """A data set in Pascal VOC's format.

    A split is a list of names (``ImageSets/Main/<split>.txt``) or a folder of images with their XML files.
    """

    name: str = "voc"
    root: str = "data/voc/VOCdevkit/VOC2012"
    one_based: bool = True  # the first pixel is 1, and xmax, ymax are inside the box, as VOC says
    # What becomes of objects marked difficult. VOC's own evaluation neither rewards nor punishes finding them.
    difficult: Literal["ignore", "object", "drop"] = "ignore"

    def has(self, written: str) -> bool:
        return self._list_file(written) is not None or Path(self.folder, written).is_dir()

    def read_split(self, split: str, written: str) -> tuple[Path, SplitRows]:
        listed = self._list_file(written)
        whole = self.folder if listed else self._split_folder(split, written)
        images, annotations = (
            next((whole / name for name in names if (whole / name).is_dir()), whole)
            for names in (_IMAGES, _ANNOTATIONS)
        )
        rows = SplitRows(str(listed or whole))
        if listed:
            self._read_listed(listed, images, annotations, rows)
        else:
            self._read_folder(images, annotations, rows)
        return images, rows

    def _list_file(self, written: str) -> Path | None:
        """Return the list of names of a split, if there is one."""
        name = written if written.endswith(".txt") else f"{written}.txt"
        files = [Path(self.folder, folder, name) for folder in _LISTS]
        return next((file for file in files if file.is_file()), None)

    def _split_folder(self, split: str, written: str) -> Path:
        folder = Path(self.folder, written)
        if folder.is_dir():
            return folder
        there = [*self.folder.glob("ImageSets/Main/*.txt"), *self.folder.glob("*.txt")]
        names = sorted(file.stem for file in there if "_" not in file.stem)
        names += sorted(path.name for path in self.folder.iterdir() if path.is_dir()) if self.folder.is_dir() else []
        raise DataError(
            f"data set {self.name!r} has no list and no folder of its split {split!r}: "
            f"{self.folder / _LISTS[0] / written}.txt, {folder}",
            why=f"dataset.{split} is {written}",
            fix=f"dataset.{split}=NAME, one of: {', '.join(names) or 'nothing found'}; or dataset.root=FOLDER",
        )

    def _read_listed(self, listed: Path, images: Path, annotations: Path, rows: SplitRows) -> None:
        """Read the annotation files of the names in a list, each once."""
        raw, text = read_text(listed, "the list of a split")
        rows.read(raw)
        met: set[str] = set()
        for number, line in enumerate(text.splitlines(), start=1):
            if not (stem := _stem(line.strip(), annotations)):
                continue
            file = annotations / f"{stem}.xml"
            if stem in met:
                rows.findings.add(IMAGE_LISTED_TWICE, f"line {number} {stem!r}")
            elif relative_name(str(images), stem) is None:
                rows.findings.add(FILE_NAME_LEAVES_FOLDER, repr(stem))
            elif not file.is_file():
                rows.findings.add(XML_MISSING, str(file))
            elif (root := _root_of(file, rows)) is not None:
                image = image_of_stem(str(images), stem) or _said_name(root, images, os.path.dirname(stem))
                self._read_image(root, image or f"{stem}.jpg", file, rows)
            met.add(stem)

    def _read_folder(self, images: Path, annotations: Path, rows: SplitRows) -> None:
        """Read all images below a folder; those without a file of annotations have no objects."""
        used = set()
        for name in find_images(str(images)):
            file = (annotations / name).with_suffix(".xml")
            if not file.is_file():
                rows.findings.add(IMAGE_WITHOUT_XML, f"image {name!r}")
                rows.image(name)
            elif (root := _root_of(file, rows)) is not None:
                self._read_image(root, name, file, rows)
            used.add(file)
        for file in sorted(set(annotations.rglob("*.xml")) - used):
            rows.findings.add(XML_WITHOUT_IMAGE, str(file))

    def _read_image(self, root: Element, name: str, file: Path, rows: SplitRows) -> None:
        image = rows.image(name, _size(root))
        for number, node in enumerate(root.findall("object"), start=1):  # direct children: parts are no objects
            where = f"object {number} of {file}"
            try:
                class_name, (x1, y1, x2, y2) = _read_object(node)
            except ValueError as reason:
                rows.findings.add(OBJECT_BROKEN, f"{where} ({reason})")
                continue
            corners = [x1 - 1, y1 - 1, x2, y2] if self.one_based else [x1, y1, x2, y2]
            difficult = (node.findtext("difficult") or "").strip() in ("1", "true", "True")
            if difficult:
                rows.findings.add(replace(DIFFICULT, outcome=_OUTCOMES[self.difficult]), where)
            if not difficult or self.difficult != "drop":
                rows.add(image, class_name, corners, ignored=difficult and self.difficult == "ignore")


class UnusableXML(ValueError):
    """The text is no XML, or XML that is not read; the message is a sentence's end."""


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:  # called where it begins, in any encoding: before what it declares is used
        raise UnusableXML("it has a document type (<!DOCTYPE>), which is not read")


def parse_xml(raw: bytes) -> Element:
    """Return the root element of the document ``raw``, which a stranger wrote.

    UnusableXML where it is too large, no XML, or has a document type: only that can declare entities, and those can
    unfold into gigabytes or name other files.
    """
    if len(raw) > MAX_BYTES:
        raise UnusableXML(f"it has more than {MAX_BYTES // 2**20} MB")
    try:
        return ElementTree.fromstring(raw, ElementTree.XMLParser(target=_WithoutDoctype()))
    except UnusableXML:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as caught:
        raise UnusableXML(f"it is not XML ({caught})") from None


def _root_of(file: Path, rows: SplitRows) -> Element | None:
    """Return the root of an annotation file; what cannot be used is reported."""
    try:
        with file.open("rb") as content:
            raw = content.read(MAX_BYTES + 1)
        root = parse_xml(raw)
        if root.tag != "annotation":
            raise UnusableXML(f"it is a <{root.tag[:40]}>, not an <annotation>")
    except (OSError, UnusableXML) as caught:
        rows.findings.add(XML_UNUSABLE, f"{file} ({caught.strerror if isinstance(caught, OSError) else caught})")
        return None
    rows.read(raw)
    return root


def _stem(line: str, annotations: Path) -> str:
    """Return the name on a line; the lists of single classes have a second column of 1, 0 or -1."""
    if not line or relative_name(str(annotations), line) is None or (annotations / f"{line}.xml").is_file():
        return line
    name, _, mark = line.rpartition(" ")
    line = name.rstrip() if name and mark in ("1", "0", "-1") else line
    stem, suffix = os.path.splitext(line)
    return stem if suffix.lower() in (".jpg", ".jpeg", ".png", ".xml") else line


def _said_name(root: Element, images: Path, folder: str) -> str | None:
    """Return the image that <filename> names, where it stands in the folder of images."""
    said = (root.findtext("filename") or "").strip()
    name = relative_name(str(images), os.path.join(folder, said)) if said else None
    return name if name is not None and (images / name).is_file() else None


def _size(root: Element) -> tuple[int, int] | None:
    """Return the (height, width) that the file says; None where it says none that can be."""
    try:
        height, width = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _read_object(node: Element) -> tuple[str, list[float]]:
    """Return the class and the four corners of an object; ValueError says what it is without."""
    name, box = (node.findtext("name") or "").strip(), node.find("bndbox")
    if not name:
        raise ValueError("without a <name>")
    if box is None:
        kinds = ", ".join(f"<{child.tag}>" for child in node if len(child))
        raise ValueError("without a <bndbox>" + (f", but with {kinds}" if kinds else ""))
    texts = [(box.findtext(corner) or "").strip() for corner in CORNERS]
    try:
        return name, [float(text) for text in texts]
    except ValueError:
        wrong = ", ".join(f"{corner}={text!r}" for corner, text in zip(CORNERS, texts, strict=True))
        raise ValueError(f"corners that are no numbers: {wrong}") from None
