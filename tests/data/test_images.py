from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retina.data.images import COLOR_FLAGS, image_path, jpeg_size, read_image, reduced_size
from retina.errors import DataError


def test_a_link_that_leads_outside_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "inside" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"image 17 'link.png' stands outside of the folder of images"):
        image_path(str(tmp_path / "inside"), "link.png", "image 17 'link.png'")


def test_a_link_to_a_folder_outside_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes(b"x")
    (tmp_path / "inside" / "sub").symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match="outside"):
        image_path(str(tmp_path / "inside"), "sub/a.png", "image 1")


def test_a_link_inside_the_folder_is_fine(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").symlink_to("a.png")
    assert image_path(str(tmp_path), "b.png", "image 1") == str(tmp_path / "b.png")


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # opening it for reading would wait for ever
    with pytest.raises(DataError, match="not a regular file"):
        image_path(str(tmp_path), "pipe.png", "image 1")


def test_a_missing_file_is_told_with_its_image(tmp_path):
    with pytest.raises(DataError, match=r"image 5 'no.png' cannot be read \(No such file or directory\): .*no.png"):
        image_path(str(tmp_path), "no.png", "image 5 'no.png'")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_cannot_be_decoded_is_told_with_its_image(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"image 5 cannot be decoded: .*bad.png"):
        read_image(str(path), "image 5")


def test_colours_come_in_the_order_red_green_blue(tmp_path):
    path = str(tmp_path / "red.png")
    cv2.imwrite(path, np.full((4, 5, 3), (1, 2, 250), dtype=np.uint8))  # OpenCV writes blue, green, red
    assert read_image(path, "image 1")[0, 0].tolist() == [250, 2, 1]


@pytest.mark.parametrize(("shape", "shown"), [((4, 5), "grey"), ((4, 5, 4), "with transparency")])
def test_every_image_has_three_channels(tmp_path, shape, shown):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, np.full(shape, 77, dtype=np.uint8))
    image = read_image(path, "image 1")
    assert image.shape == (4, 5, 3), shown
    assert (image == 77).all()


def test_sixteen_bit_images_become_eight_bit(tmp_path):
    path = str(tmp_path / "deep.png")
    cv2.imwrite(path, np.full((4, 5), 0x4D00, dtype=np.uint16))
    image = read_image(path, "image 1")
    assert image.dtype == np.uint8
    assert (image == 0x4D).all()


def test_exif_orientation_is_ignored_unless_asked_for(tmp_path):
    path = tmp_path / "turned.jpg"
    write_turned_jpeg(path, height=20, width=30)
    assert read_image(str(path), "image 1").shape == (20, 30, 3)
    assert read_image(str(path), "image 1", exif="apply").shape == (30, 20, 3)


def write_turned_jpeg(path: Path, *, height: int, width: int) -> None:
    """Write a JPEG whose EXIF block says: turn by 90 degrees to show."""
    _, encoded = cv2.imencode(".jpg", np.zeros((height, width, 3), dtype=np.uint8))
    # One directory with one entry: tag 0x0112 (orientation), type short, count 1, value 6.
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    block = b"Exif\0\0" + tiff
    jpeg = encoded.tobytes()
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])


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
