"""Reading image files: only from inside their folder, decoded as stored or a whole number of times smaller, as RGB."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from retina.data import remote
from retina.data.file_names import leaves_folder
from retina.errors import DataError

# How many times smaller than stored an image of (height, width) may be decoded: 1, 2, 4 or 8.
Shrink = Callable[[int, int], int]

# A JPEG is made of 8 x 8 cosines; leaving out the high ones gives it at 1/2, 1/4 or 1/8, near to the mean over each
# square of pixels. Sides are rounded up. Source: libjpeg.txt, "Decompression parameter selection", scale_denom.
COLOR_FLAGS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
COLOR_FLAGS[8] = cv2.IMREAD_REDUCED_COLOR_8
# 1: the pixels as stored; 0: turned as the EXIF orientation says, as image viewers show them.
EXIF_POLICIES = {"ignore": cv2.IMREAD_IGNORE_ORIENTATION, "apply": 0}

# Markers of a file. Source: ITU-T T.81, table B.1.
_START_OF_IMAGE = b"\xff\xd8"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive; the rare others are decoded whole
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_BEFORE_NO_FRAME = {0xD9, 0xDA}  # end of image, start of scan


def image_path(folder: str, file_name: str, place: str) -> str:
    """Return the path of the image ``file_name`` of ``folder``, which is resolved (``os.path.realpath``) already.

    Raises:
        DataError: the file is missing, no regular file, or stands outside of ``folder`` (also through a link);
            ``place`` is how it names the image.
    """
    path = os.path.join(folder, file_name)
    try:
        # Looked at before it is opened: opening a pipe would wait for ever, opening a device can have effects.
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"{place} cannot be read ({reason}): {path}",
            why="the annotation file lists it",
            fix=f"put the file into {folder}, or name the right folder of images",
        ) from None
    if leaves_folder(file_name) or not Path(os.path.realpath(path)).is_relative_to(folder):
        raise DataError(
            f"{place} stands outside of the folder of images: {path}",
            why=f"only files inside {folder} are opened, whatever an annotation file says",
            fix="copy the image into the folder, or give the folder that holds it as the folder of images",
        )
    if not stat.S_ISREG(mode):
        raise DataError(f"{place} is not a regular file: {path}", fix="put an image file there")
    return path


def read_image(path: str, place: str, *, exif: str = "ignore") -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 RGB pixels as stored, for the rest as :func:`read_shrunk`."""
    return read_shrunk(path, place, exif=exif)[0]


def read_shrunk(
    path: str, place: str, *, exif: str = "ignore", shrink: Shrink | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return ``(H, W, 3)`` uint8 RGB pixels, of a JPEG perhaps fewer, and the (height, width) of all of them.

    Grey images get three equal channels, transparency is dropped.

    ``path`` may be an address. ``shrink`` says how many times smaller a JPEG may be decoded; sides are rounded up.
    DataError, which calls the image ``place``, where it cannot be read or decoded.
    """
    try:
        # imdecode of the bytes, not imread: imread cannot open every unicode name on every system.
        is_remote = remote.is_remote(path)
        encoded = np.frombuffer(remote.read_bytes(path), np.uint8) if is_remote else np.fromfile(path, np.uint8)
        stored, denominator = _plan(encoded, exif, shrink)
        flags = COLOR_FLAGS[denominator] | EXIF_POLICIES[exif]
        image = cv2.imdecode(encoded, flags) if encoded.size else None
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror or error}): {path}") from None
    except cv2.error as error:
        raise DataError(f"{place} cannot be decoded ({error.err}): {path}", fix="replace the file") from None
    if image is None:
        raise DataError(
            f"{place} cannot be decoded: {path}",
            why="the file is damaged, empty or not in a format that OpenCV reads",
            fix="replace the file, or take the image out of the annotation file",
        )
    size = (image.shape[0], image.shape[1])
    if denominator > 1:
        # A turned image has its sides swapped; _plan made sure that the two ways can be told apart.
        size = stored if size == reduced_size(*stored, denominator) else stored[::-1]
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), size


def _plan(encoded: np.ndarray, exif: str, shrink: Shrink | None) -> tuple[tuple[int, int], int]:
    """Return the stored (height, width), as far as it is needed, and how many times smaller to decode."""
    if shrink is None or (stored := jpeg_size(encoded.data)) is None:
        return (0, 0), 1
    denominator = shrink(*stored)
    height, width = reduced_size(*stored, denominator)
    if exif == "apply" and height == width and stored[0] != stored[1]:
        return stored, 1  # rounding up made it square: whether it was turned could not be seen
    return stored, denominator


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
            precision, *sides = encoded[place + 4 : place + 9]
            height, width = sides[0] << 8 | sides[1], sides[2] << 8 | sides[3]
            # Height 0 means that it stands behind the first scan.
            return (height, width) if precision == 8 and height and width else None
        elif marker in _BEFORE_NO_FRAME or 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC):
            return None
        else:
            place += 2 + max(2, encoded[place + 2] << 8 | encoded[place + 3])
    return None


def reduced_size(height: int, width: int, denominator: int) -> tuple[int, int]:
    """Return (height, width) of an image that is decoded ``denominator`` times smaller."""
    return -(-height // denominator), -(-width // denominator)
