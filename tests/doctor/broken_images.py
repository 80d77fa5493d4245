"""Rows of the table of broken inputs: image files. ``d`` is a sound data set (tests/doctor/conftest.py)."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.doctor.broken import FINE, REFUSED, TOLD, row

# Image files ------------------------------------------------------------------------------------------------------


def pillow(path: Path, *, mode: str = "RGB", size=(64, 48), **saving) -> None:
    """Write a picture by Pillow in place of the one at ``path``."""
    saving.setdefault("format", "JPEG")
    Image.effect_noise(size, 40).convert(mode).save(path, **saving)


@row(TOLD, "image 11 'train_1.jpg'", "missing", "replaced by other images")
def image_missing(d):
    d.image(1).unlink()


@row(REFUSED, "image 10 'train_0.jpg'")
def folder_of_images_empty(d):
    for i in range(4):
        d.image(i).unlink()


@row(REFUSED, "train images of data set 'tiny' are missing")
def folder_of_images_missing(d):
    (d.root / "train").rename(d.root / "elsewhere")


@row(REFUSED, "missing", "image 51 'val_1.jpg'", "doctor.py")
def image_that_is_scored_missing(d):
    (d.root / "val" / "val_1.jpg").unlink()


@row(REFUSED, "2 image files are missing", "image 12 'train_2.jpg'", "image 13 'train_3.jpg'")
def half_of_the_images_missing(d):
    d.image(2).unlink()
    d.image(3).unlink()


@row(TOLD, "image 11 'train_1.jpg'", "empty")
def image_of_zero_bytes(d):
    d.image(1).write_bytes(b"")


@row(TOLD, "image 11 'train_1.jpg'", "decoded")
def image_is_text(d):
    d.image(1).write_text("not an image at all")


@row(TOLD, "image 11 'train_1.jpg'")
def image_cut_off(d):
    d.image(1).write_bytes(d.image(1).read_bytes()[:-400])


@row(TOLD, "image 11 'train_1.jpg'")
def png_cut_off(d):
    pillow(d.image(1), format="PNG")
    d.image(1).write_bytes(d.image(1).read_bytes()[:-2000])


@row(TOLD, "image 11 'train_1.jpg'", "32 x 24 pixels, 64 x 48 in the annotations")
def image_of_another_size(d):
    pillow(d.image(1), size=(32, 24))


@row(TOLD, "image 11 'train_1.jpg'", "folder, pipe or device")
def image_is_a_pipe(d):
    d.image(1).unlink()
    os.mkfifo(d.image(1))


@row(TOLD, "image 11 'train_1.jpg'", "folder, pipe or device")
def image_is_a_folder(d):
    d.image(1).unlink()
    d.image(1).mkdir()


@row(TOLD, "image 11 'train_1.jpg'", "outside of its folder")
def image_is_a_link_to_outside(d):
    d.image(1).unlink()
    d.image(1).symlink_to(d.root / "val" / "val_0.jpg")


@row(TOLD, "image 11 'train_1.jpg'", "outside of its folder")
def image_is_a_link_to_a_device(d):
    d.image(1).unlink()
    d.image(1).symlink_to("/dev/zero")


@row(TOLD, "image 11", "outside of its folder")
def image_in_a_linked_folder(d):
    (d.root / "other").mkdir()
    (d.root / "other" / "a.jpg").write_bytes(d.image(1).read_bytes())
    (d.root / "train" / "sub").symlink_to(d.root / "other")
    d.content["images"][1]["file_name"] = "sub/a.jpg"


@row(TOLD, "image 11 'train_1.jpg'", "missing")
def image_is_a_broken_link(d):
    d.image(1).unlink()
    d.image(1).symlink_to("nowhere.jpg")


@row(FINE)
def image_is_a_link_inside(d):
    d.image(1).rename(d.root / "train" / "real.jpg")
    d.image(1).symlink_to("real.jpg")


@row(TOLD, "image 11 'train_1.jpg'", "178 million")
def image_says_that_it_is_huge(d):
    pillow(d.image(1), format="PNG")
    content = bytearray(d.image(1).read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    d.image(1).write_bytes(content)


@row(TOLD, "image 11 'train_1.jpg'", "more than 8 bits")
def image_of_16_bits(d):
    Image.fromarray(np.full((48, 64), 300, dtype=np.uint16)).save(d.image(1), format="PNG")


@row(FINE)
def image_is_cmyk(d):
    pillow(d.image(1), mode="CMYK")


@row(FINE)
def image_has_a_palette(d):
    pillow(d.image(1), mode="P", format="PNG")


@row(FINE)
def image_is_gray(d):
    pillow(d.image(1), mode="L")


@row(FINE)
def image_has_transparency(d):
    pillow(d.image(1), mode="RGBA", format="PNG")


@row(TOLD, "image 11 'train_1.jpg'", "several frames")
def image_is_animated(d):
    frames = [Image.effect_noise((64, 48), 20 + i) for i in range(3)]
    frames[0].save(d.image(1), format="GIF", save_all=True, append_images=frames[1:])


@row(FINE)
def image_with_the_wrong_extension(d):
    pillow(d.image(1), format="PNG")


@row(TOLD, "image 11 'train_1.jpg'", "turned by the camera's note")
def image_upside_down_by_exif(d):
    exif = Image.Exif()
    exif[0x0112] = 3
    pillow(d.image(1), exif=exif)


@row(TOLD, "image 11 'train_1.jpg'", "swapped by the camera's note")
def image_sides_swapped_by_exif(d):
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow(d.image(1), size=(48, 64), exif=exif)


@row(TOLD, "image 11 'train_1.jpg'", "decoded")
def image_in_a_format_that_opencv_does_not_read(d):
    pillow(d.image(1), format="ICO", sizes=[(64, 48)])
