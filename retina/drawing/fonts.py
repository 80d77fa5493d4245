"""A font that has the letters of a class name, whatever its script."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's own font knows little more than ASCII. These are the usual fonts of Linux, macOS and Windows, found by
# name in the system's folders; the first that has every letter is taken.
SYSTEM_FONTS: tuple[str, ...] = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
)
SYSTEM_FONTS += ("wqy-microhei.ttc", "Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc", "malgun.ttf", "meiryo.ttc")
NO_CHARACTER = "\uffff"  # no font has it, so it is drawn as the font's sign for a missing letter


@lru_cache(maxsize=4096)
def drawable(text: str, size: int) -> tuple[str, Font]:
    """Return ``text`` and a font of ``size`` pixels that has its letters.

    Where no font of the machine has them, accents are left out and other unknown letters become ``?``.
    """
    for font in _fonts(size):
        if all(_has_letter(font, letter) for letter in set(text)):
            return text, font
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode("ascii"), _fonts(size)[0]


@lru_cache(maxsize=32)
def _fonts(size: int) -> tuple[Font, ...]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in SYSTEM_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:  # not on this machine
            continue
    return tuple(fonts)


def _has_letter(font: Font, letter: str) -> bool:
    if letter.isascii():
        return True
    mask, missing = font.getmask(letter), font.getmask(NO_CHARACTER)
    return mask.size != missing.size or bytes(mask) != bytes(missing)
