"""What a JPEG says of itself before it is decoded: the size of the stored image."""

from __future__ import annotations

from collections.abc import Callable

import cv2

# How many times smaller than stored an image of (height, width) may be decoded: 1, 2, 4 or 8.
Shrink = Callable[[int, int], int]

# A JPEG is made of 8 x 8 cosines; leaving out the high ones gives it at 1/2, 1/4 or 1/8, near to the mean over each
# square of pixels. Sides are rounded up. Source: libjpeg.txt, "Decompression parameter selection", scale_denom.
COLOR_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# Markers of a file. Source: ITU-T T.81, table B.1.
_START_OF_IMAGE = b"\xff\xd8"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive; the rare others are decoded whole
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_BEFORE_NO_FRAME = {0xD9, 0xDA}  # end of image, start of scan


def jpeg_size(encoded: bytes | memoryview) -> tuple[int, int] | None:
    """Return the stored (height, width), or None for what is no JPEG that can be decoded smaller.

    Source: ITU-T T.81, B.1.1 (markers), B.2.2 (frame header). Reads lengths only, a few microseconds.
    """
    if bytes(encoded[:2]) != _START_OF_IMAGE:
        return None
    place, end = 2, len(encoded)
    while place + 9 <= end and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if marker == 0xFF:  # any number of fill bytes may stand before a marker
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        elif marker in _FRAMES:
            return _frame_size(encoded[place + 4 : place + 9])
        elif marker in _BEFORE_NO_FRAME or 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC):
            return None
        else:
            place += 2 + max(2, encoded[place + 2] << 8 | encoded[place + 3])
    return None


def reduced_size(height: int, width: int, denominator: int) -> tuple[int, int]:
    """Return (height, width) of an image that is decoded ``denominator`` times smaller."""
    return -(-height // denominator), -(-width // denominator)


def _frame_size(frame: bytes | memoryview) -> tuple[int, int] | None:
    precision, height, width = frame[0], frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    # Height 0 means that it stands behind the first scan.
    return (height, width) if precision == 8 and height and width else None
