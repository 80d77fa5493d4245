"""What an image file says of itself before it is decoded, and whether it is all there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from retina.data import catalogue
from retina.data.findings import Fault

# Twice Pillow's warning limit, where it refuses to open: a 16-megapixel camera is a tenth of it.
MAX_PIXELS = 2 * (1024**3 // 4 // 3)
# What cameras write with more than one picture inside is a JPEG with previews, not an animation.
_SAME = {"MPO": "JPEG"}
_TURNABLE = {"JPEG", "TIFF", "WEBP"}  # asking a PNG would decode it
_ORIENTATION = 0x0112  # EXIF tag. Source: CIPA DC-008, table 4
_MODES = {
    "CMYK": catalogue.IMAGE_CMYK,
    **dict.fromkeys(("P", "PA"), catalogue.IMAGE_PALETTE),
    **dict.fromkeys(("L", "1"), catalogue.IMAGE_GRAY),
    **dict.fromkeys(("RGBA", "LA", "La"), catalogue.IMAGE_ALPHA),
}
_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"}, "PNG": {".png", ".apng"}, "GIF": {".gif"}, "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"}, "WEBP": {".webp"},
}  # fmt: skip


class UnknownImage(ValueError):
    """Not an image in a format that Pillow knows; OpenCV may know it still."""


class HugeImage(ValueError):
    """The header says that there are more pixels than anybody decodes unasked."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say."""

    format: str  # Pillow's name: "JPEG"
    size: tuple[int, int]  # (height, width) as stored
    mode: str  # Pillow's: "RGB", "L", "CMYK", "I;16"
    orientation: int  # EXIF's: 1 upright, 3 upside down, 5..8 with sides swapped
    animated: bool

    @property
    def sides_swapped(self) -> bool:
        """Return whether showing it as the camera noted swaps height and width."""
        return self.orientation in (5, 6, 7, 8)

    def oddities(self, file_name: str) -> Iterator[Fault]:
        """Yield what is unusual about the image, though it can be trained on."""
        if self.mode.startswith(("I", "F")):
            yield catalogue.IMAGE_16_BIT
        elif self.mode in _MODES:
            yield _MODES[self.mode]
        if self.animated:
            yield catalogue.IMAGE_ANIMATED
        known, extension = _EXTENSIONS.get(self.format), Path(file_name).suffix.lower()
        if known and extension not in known:
            yield catalogue.IMAGE_EXTENSION


def read_header(source: str | BinaryIO) -> Header:
    """Return what the image at ``source`` says of itself; reads a few hundred bytes.

    Raises:
        UnknownImage: Pillow does not know the format, or it is damaged at its very beginning.
        HugeImage: it has more than :data:`MAX_PIXELS`.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(source) as image:
            name = _SAME.get(image.format or "", image.format or "")
            return Header(
                format=name,
                size=(image.height, image.width),
                mode=image.mode,
                orientation=_orientation(image) if name in _TURNABLE else 1,
                animated=name == image.format and bool(getattr(image, "is_animated", False)),
            )
    except Image.DecompressionBombError as error:
        raise HugeImage(str(error)) from None
    except (UnidentifiedImageError, ValueError, SyntaxError, EOFError, KeyError) as error:
        # Plugins tell damage by any of these.
        raise UnknownImage(str(error)) from None


def is_complete(source: BinaryIO) -> bool:
    """Return whether the image decodes to its last row; some decoders fill what is missing without a word."""
    try:
        with Image.open(source) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, KeyError):
        return False
    return True


def may_be_truncated(encoded: bytes | memoryview) -> bool:
    """Return whether a file lacks the end that its format demands, or is of a format that has none.

    A JPEG ends with the marker FF D9, which coded pixels cannot contain (ITU-T T.81, B.1.1.5), a PNG with IEND; behind
    either may stand more.
    """
    content = bytes(encoded)
    return not content.startswith(b"\xff\xd8") or content.rfind(b"\xff\xd9") < _start_of_scan(content)


def _start_of_scan(content: bytes) -> int:
    """Return where the coded pixels of a JPEG begin: behind its segments, whose previews have ends of their own.

    Source: ITU-T T.81, B.1.1.4 (each segment says its length).
    """
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        place += 1 if content[place + 1] == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError):  # a damaged EXIF block says nothing
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
