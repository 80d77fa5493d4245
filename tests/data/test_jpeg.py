"""The size that a JPEG's header tells, against Pillow and OpenCV, and headers that tell nothing."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retina.data.images import COLOR_FLAGS, jpeg_size, reduced_size


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(height: int, width: int, mode: str = "RGB", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(height, width)).convert(mode).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"progressive": True},
        {"comment": b"\xff\xc0 no frame" * 900},
        {"exif": b"Exif\0\0" + b"\xff\xc0\0\x11" * 99},
    ],
    ids=["baseline", "progressive", "long comment", "exif with markers inside"],
)
def test_the_size_is_that_which_pillow_finds(mode, settings):
    encoded = jpeg(37, 53, mode, **settings)
    assert Image.open(io.BytesIO(encoded)).size == (53, 37)
    assert jpeg_size(encoded) == (37, 53)
    assert jpeg_size(np.frombuffer(encoded, dtype=np.uint8).data) == (37, 53)


@pytest.mark.parametrize("denominator", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 80), (65, 79), (9, 71), (1, 1), (7, 8)])
def test_opencv_rounds_sides_up(size, denominator):
    _, encoded = cv2.imencode(".jpg", pixels(*size))
    assert cv2.imdecode(encoded, COLOR_FLAGS[denominator]).shape[:2] == reduced_size(*size, denominator)


def test_sides_are_rounded_up_by_hand():
    assert reduced_size(17, 16, 8) == (3, 2)
    assert reduced_size(17, 16, 1) == (17, 16)


def test_fill_bytes_before_a_marker_are_skipped():
    encoded = jpeg(5, 6)
    assert jpeg_size(encoded[:2] + b"\xff\xff" + encoded[2:]) == (5, 6)


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\0\x11", b"GIF89a" + b"\0" * 20, b"\xff\xd8" * 40],
)
def test_what_has_no_frame_has_no_size(encoded):
    assert jpeg_size(encoded) is None


def test_other_formats_have_no_size_whatever_they_hold():
    _, png = cv2.imencode(".png", pixels(20, 30))
    assert jpeg_size(png.data) is None
    assert jpeg_size(png.tobytes() + jpeg(20, 30)) is None


def frame(marker: int, precision: int = 8, height: int = 5) -> bytes:
    return b"\xff\xd8\xff" + bytes([marker, 0, 17, precision, 0, height, 0, 6]) + b"\0" * 20


def test_frames_that_are_not_decoded_smaller_have_no_size():
    assert jpeg_size(frame(0xC0)) == jpeg_size(frame(0xC1)) == jpeg_size(frame(0xC2)) == (5, 6)
    assert jpeg_size(frame(0xC3)) is None  # lossless
    assert jpeg_size(frame(0xC9)) is None  # arithmetic coding
    assert jpeg_size(frame(0xC4)) is None  # a table of codes, and then nothing
    assert jpeg_size(frame(0xC1, precision=12)) is None
    assert jpeg_size(frame(0xC0, height=0)) is None  # told behind the first scan


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail(content):
    size = jpeg_size(b"\xff\xd8\xff" + content)
    assert size is None or min(size) > 0
