from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from retina.data.checks.header import HugeImage, UnknownImage, is_complete, may_be_truncated, read_header


def saved(mode="RGB", size=(30, 20), **saving) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(stream, **saving)
    return stream.getvalue()


def header(content: bytes):
    return read_header(io.BytesIO(content))


@pytest.mark.parametrize(
    ("mode", "saving", "name", "expected"),
    [
        ("RGB", {"format": "JPEG"}, "a.jpg", []),
        ("RGB", {"format": "JPEG"}, "a.JPEG", []),
        ("RGB", {"format": "JPEG"}, "a.png", ["image-extension"]),
        ("L", {"format": "JPEG"}, "a.jpg", ["image-gray"]),
        ("CMYK", {"format": "JPEG"}, "a.jpg", ["image-cmyk"]),
        ("P", {"format": "PNG"}, "a.png", ["image-palette"]),
        ("RGBA", {"format": "PNG"}, "a.png", ["image-alpha"]),
        ("1", {"format": "PNG"}, "a.png", ["image-gray"]),
        ("RGB", {"format": "BMP"}, "a.unknown", ["image-extension"]),
    ],
)
def test_what_is_unusual_is_said(mode, saving, name, expected):
    assert [kind.name for kind in header(saved(mode, **saving)).oddities(name)] == expected


def test_more_than_eight_bits_are_said():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 5), dtype=np.uint16)).save(stream, format="PNG")
    assert [kind.name for kind in header(stream.getvalue()).oddities("a.png")] == ["image-16-bit"]


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_are_seen_whatever_the_format(format_name):
    frames = [Image.effect_noise((8, 8), 30) for _ in range(2)]
    for count in (1, 2):
        stream = io.BytesIO()
        frames[0].save(stream, format=format_name, save_all=True, append_images=frames[1:count])
        assert header(stream.getvalue()).animated == (count == 2)


def test_size_is_height_and_width_as_stored_whatever_the_camera_noted():
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = header(saved(format="JPEG", exif=exif))
    assert seen.size == (20, 30)
    assert seen.orientation == 6
    assert seen.sides_swapped


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n broken", b"GIF89a"])
def test_what_is_no_image_is_unknown(content):
    with pytest.raises(UnknownImage):
        header(content)


def test_a_huge_image_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses at twice of it
    with pytest.raises(HugeImage):
        header(saved(format="PNG"))


@pytest.mark.parametrize("saving", [{"format": "JPEG"}, {"format": "JPEG", "progressive": True}, {"format": "PNG"},
                                    {"format": "BMP"}, {"format": "WEBP"}], ids=str)  # fmt: skip
def test_every_cut_in_the_pixels_is_found(saving):
    content = saved(size=(120, 90), **saving)
    assert is_complete(io.BytesIO(content))
    for share in (0.4, 0.7, 0.95):
        cut = content[: int(share * len(content))]
        assert may_be_truncated(cut)
        assert not is_complete(io.BytesIO(cut)), share


def test_an_end_inside_of_a_preview_is_not_the_end_of_the_image():
    content = saved(size=(120, 90), format="JPEG")
    preview = saved(size=(16, 12), format="JPEG")
    block = b"Exif\0\0" + preview
    with_preview = content[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + content[2:]
    assert not may_be_truncated(with_preview + b"trailing bytes of a camera")
    assert may_be_truncated(with_preview[:-300] + bytes(300))  # filled up with zeros, as broken downloads are
