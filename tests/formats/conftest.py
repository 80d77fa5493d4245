"""Small images and small data sets in each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.conftest import coco_folder, content, pixels, write_annotations  # noqa: F401

VOC_OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


@pytest.fixture
def image() -> Callable[..., Path]:
    """Write an image of (height, width), by its bytes so that any name works."""

    def write(path: Path, size: tuple[int, int] = (40, 60)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded, written = cv2.imencode(path.suffix, np.full((*size, 3), 128, np.uint8))
        assert encoded
        written.tofile(path)
        return path

    return write


@pytest.fixture
def voc_xml() -> Callable[..., str]:
    """Return the text of an annotation file with objects (name, x1, y1, x2, y2, difficult)."""

    def text(*objects: tuple, size: tuple[int, int] | None = (40, 60), filename: str = "a.jpg") -> str:
        keys = ("name", "x1", "y1", "x2", "y2", "difficult")
        nodes = "".join(VOC_OBJECT.format(**dict(zip(keys, row, strict=True))) for row in objects)
        sides = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>" if size else ""
        return f"<annotation><filename>{filename}</filename>{sides}{nodes}</annotation>"

    return text


@pytest.fixture
def write() -> Callable[[Path, str | bytes], Path]:
    """Write a text, with the folders that lead to it."""

    def write_text(path: Path, text: str | bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_text
