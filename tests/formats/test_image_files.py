from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from retina.data.images import read_image
from retina.formats.image_files import find_images, image_of_stem, image_sizes, relative_name


def test_images_are_found_below_a_folder_in_the_order_of_their_names(tmp_path, image):
    for name in ("b.jpg", "a.PNG", "deep/er/mit Löwe 猫.jpeg", ".hidden.jpg"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_images(str(tmp_path)) == ["a.PNG", "b.jpg", "deep/er/mit Löwe 猫.jpeg"]
    assert image_of_stem(str(tmp_path), "a") == "a.PNG"
    assert image_of_stem(str(tmp_path), "c") is None


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("./x/../a.jpg", "a.jpg"),
        ("deep\\a.jpg", "deep/a.jpg"),
        ("{root}/deep/a.jpg", "deep/a.jpg"),
        ("../a.jpg", None),
        ("deep/../../a.jpg", None),
        ("/etc/passwd", None),
        ("", None),
        (".", None),
        ("a\0.jpg", None),
    ],
)
def test_a_listed_name_cannot_leave_the_folder(tmp_path, listed, name):
    assert relative_name(str(tmp_path), listed.replace("{root}", str(tmp_path))) == name


def test_sizes_of_headers_are_those_of_the_pixels(tmp_path):
    generator = np.random.default_rng(0)
    names = []
    for suffix in (".jpg", ".png", ".bmp", ".webp", ".tiff"):
        for size in ((7, 13), (301, 40)):
            name = f"{size[0]}{suffix}"
            cv2.imwrite(str(tmp_path / name), generator.integers(0, 256, (*size, 3), dtype=np.uint8))
            names.append(name)
    found = image_sizes(str(tmp_path), names)
    assert found == [read_image(str(tmp_path / name), name).shape[:2] for name in names]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_of_turned_images_are_those_that_the_policy_decodes(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    for policy in ("ignore", "apply"):
        shape = read_image(str(tmp_path / "a.jpg"), "a", exif=policy).shape
        assert image_sizes(str(tmp_path), ["a.jpg"], exif=policy) == [shape[:2]]


def test_what_has_no_size_is_said_in_a_sentence_and_the_others_are_read(tmp_path, image):
    image(tmp_path / "a.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    os.mkfifo(tmp_path / "pipe.jpg")
    names = ["a.jpg", "text.jpg", "cut.png", "pipe.jpg", "nowhere.jpg"]
    found = image_sizes(str(Path(os.path.realpath(tmp_path))), names)
    assert found[0] == (40, 60)
    assert all(
        isinstance(sentence, str) and name in sentence for sentence, name in zip(found[1:], names[1:], strict=True)
    )
