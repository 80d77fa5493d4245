"""JPEGs decoded smaller: boxes stay on their objects, the stored size is still checked, nothing else changes."""

from __future__ import annotations

import io
import json
import struct
from itertools import pairwise
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retina.data.augment import Augment
from retina.data.dataset import DetectionDataset
from retina.data.images import read_image, read_shrunk, reduced_size
from retina.data.loader import AugmentedImages
from retina.data.samplers import SampleKey
from retina.data.transforms.crops import ScaleCrop
from retina.data.transforms.resize import resized_size
from retina.errors import DataError

SIZE = (483, 645)  # no side is a multiple of 2, 4 or 8
# xyxy and colour; the last one ends with the image.
OBJECTS = [((40, 32, 168, 160), (255, 0, 0)), ((304, 96, 500, 330), (0, 255, 0)), ((517, 355, 645, 483), (0, 0, 255))]


def write_folder(folder: Path, suffix: str = ".jpg", size: tuple[int, int] = SIZE) -> Path:
    """Write one image with three rectangles (the third is a crowd) and its annotation file."""
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    annotations = []
    for number, ((x1, y1, x2, y2), color) in enumerate(OBJECTS):
        image[y1:y2, x1:x2] = color
        box = [x1, y1, x2 - x1, y2 - y1]
        annotations.append({"id": number, "image_id": 5, "category_id": 1, "bbox": box, "area": box[2] * box[3],
                            "iscrowd": int(number == 2)})  # fmt: skip
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, encoded = cv2.imencode(suffix, image[..., ::-1], quality if suffix == ".jpg" else [])
    encoded.tofile(folder / "a.jpg")  # by content, not by name
    content = {"images": [{"id": 5, "file_name": "a.jpg", "height": size[0], "width": size[1]}],
               "categories": [{"id": 1, "name": "box"}], "annotations": annotations}  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def open_folder(folder: Path, exif: str = "ignore") -> DetectionDataset:
    return DetectionDataset(folder, folder / "a.json", name="drawn", split="val", exif=exif)


def found_box(image: np.ndarray, channel: int) -> torch.Tensor:
    rows, columns = np.nonzero(image[..., channel] > 127)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


@pytest.mark.parametrize("denominator", [1, 2, 4, 8])
def test_boxes_land_where_the_objects_are(tmp_path, denominator):
    sample = open_folder(write_folder(tmp_path)).sample(0, lambda height, width: denominator)
    assert sample.image.shape[:2] == reduced_size(*SIZE, denominator)
    assert sample.original_size == SIZE
    boxes = [*sample.targets.boxes, *sample.targets.crowd_boxes]
    for channel, box in enumerate(boxes):
        torch.testing.assert_close(box, found_box(sample.image, channel), atol=1.0, rtol=0)
    height, width = sample.image.shape[:2]
    torch.testing.assert_close(boxes[2][2:], torch.tensor([width, height], dtype=torch.float32))
    assert all(part.dtype == torch.float32 for part in boxes)


@pytest.mark.parametrize("denominator", [2, 4, 8])
@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_boxes_stay_on_the_objects_through_decoding_zoom_and_resize(tmp_path, denominator, zoom):
    dataset = open_folder(write_folder(tmp_path))
    short = int(SIZE[0] / denominator / zoom)
    crop = ScaleCrop((zoom, zoom), min_visible=0.99, p=1)
    augment = Augment([A.HorizontalFlip(p=0.5), crop], short_side=short, long_side=999, seed=0, reduced_decoding=True)
    assert augment.shrink(*SIZE) == denominator
    images, num_boxes = AugmentedImages(dataset, augment), 0
    for epoch in range(12):
        sample = images[SampleKey(epoch, 0)]
        for label_box in sample.targets.boxes:
            channel = int(np.argmax(sample.image[_center(label_box)]))
            # Boxes that the window cuts end at the canvas, as the pixels do.
            torch.testing.assert_close(label_box, found_box(sample.image, channel), atol=1.5, rtol=0)
            num_boxes += 1
    assert num_boxes >= 6


def _center(box: torch.Tensor) -> tuple[int, int]:
    x, y = ((box[:2] + box[2:]) / 2).int().tolist()
    return y, x


def test_decoded_smaller_is_near_to_the_mean_of_the_pixels(tmp_path):
    generator = np.random.default_rng(0)
    image = cv2.resize(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8), (480, 320))
    cv2.imwrite(str(tmp_path / "a.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    whole = read_image(str(tmp_path / "a.jpg"), "an image")
    for denominator in (2, 4, 8):
        small, size = read_shrunk(str(tmp_path / "a.jpg"), "an image", shrink=lambda *_, d=denominator: d)
        assert size == (320, 480)
        expected = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(small - expected).mean() < 3


# When: never too small for what follows


@given(
    st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 1000), st.integers(0, 1000), st.sampled_from([1, 1.6, 3])
)
def test_decoding_smaller_never_leads_to_enlarging(height, width, short_side, more, zoom):
    sides = {"short_side": short_side, "long_side": short_side + more}
    augment = Augment([ScaleCrop((0.5, zoom))], **sides, seed=0, reduced_decoding=True)
    denominator = augment.shrink(height, width)
    decoded, wanted = reduced_size(height, width, denominator), resized_size(height, width, **sides)
    if denominator > 1:
        for side, want in zip((height, width), wanted, strict=True):
            assert side / denominator >= zoom * (want - 0.5) * (1 - 1e-9) or want == 1  # sizes are rounded
        assert all(have >= want for have, want in zip(decoded, wanted, strict=True))
        final = resized_size(*decoded, **sides)
        assert all(have >= want for have, want in zip(decoded, final, strict=True))
    if denominator < 8:  # and not larger than it has to be
        assert 2 * denominator * zoom * max(short_side / min(height, width), 0) > 1 or (
            2 * denominator * zoom * (short_side + more) / max(height, width) > 1
        )
    assert augment.shrink(width, height) == denominator


def test_the_factor_is_the_greatest_power_of_two_that_leaves_enough():
    def shrink(*transforms, switch=True):
        return Augment(list(transforms), short_side=800, long_side=1333, seed=0, reduced_decoding=switch).shrink

    assert [shrink()(*size) for size in [(480, 640), (1599, 2000), (1600, 2133), (3000, 4000), (3200, 4266)]] == [
        1, 1, 2, 2, 4,
    ]  # fmt: skip
    assert shrink()(9000, 12000) == shrink()(90000, 120000) == 8
    assert shrink(ScaleCrop((0.6, 1.6)))(2559, 3412) == 1
    assert shrink(ScaleCrop((0.6, 1.6)))(2560, 3413) == 2
    assert shrink(A.RandomCrop(512, 512))(9000, 12000) == 1  # would be another crop of a smaller image
    assert shrink(switch=False)(9000, 12000) == 1


# The switch, and what is no JPEG


def test_the_switch_gives_whole_images_byte_for_byte(tmp_path):
    dataset = open_folder(write_folder(tmp_path))
    transforms = [A.HorizontalFlip(p=0.5), ScaleCrop(p=0.5), A.ColorJitter(p=0.5)]
    plain = Augment(transforms, short_side=60, long_side=100, seed=3)
    images = AugmentedImages(dataset, plain)
    for epoch in range(6):
        ours, expected = images[SampleKey(epoch, 0)], plain.transform(dataset.sample(0), SampleKey(epoch, 0))
        np.testing.assert_array_equal(ours.image, expected.image)
        assert torch.equal(ours.targets.boxes, expected.targets.boxes)
    reduced = Augment(transforms, short_side=60, long_side=100, seed=3, reduced_decoding=True)
    assert dataset.sample(0, reduced.shrink).image.shape[:2] == (121, 162)


def test_small_images_are_the_same_with_the_switch_on(tmp_path):
    dataset = open_folder(write_folder(tmp_path))
    pairs = [Augment([A.HorizontalFlip(p=0.5)], short_side=300, long_side=500, seed=3, reduced_decoding=switch)
             for switch in (False, True)]  # fmt: skip
    for epoch in range(4):
        ours, expected = (AugmentedImages(dataset, augment)[SampleKey(epoch, 0)] for augment in pairs)
        np.testing.assert_array_equal(ours.image, expected.image)
        assert torch.equal(ours.targets.boxes, expected.targets.boxes)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_other_formats_are_read_whole_whatever_their_name(tmp_path, suffix):
    dataset = open_folder(write_folder(tmp_path, suffix))
    whole, asked = dataset.sample(0), dataset.sample(0, lambda height, width: 8)
    np.testing.assert_array_equal(whole.image, asked.image)
    assert torch.equal(whole.targets.boxes, asked.targets.boxes)


def test_an_image_decoded_smaller_is_a_function_of_its_key(tmp_path):
    dataset = open_folder(write_folder(tmp_path))
    augment = Augment([ScaleCrop(p=1)], short_side=60, long_side=100, seed=3, reduced_decoding=True)
    images = AugmentedImages(dataset, augment)
    first = [images[SampleKey(epoch, 0)].image for epoch in range(4)]
    again = [images[SampleKey(epoch, 0)].image for epoch in reversed(range(4))][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(np.array_equal(one, other) for one, other in pairwise(first))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_four_channel_jpegs_come_as_three_channels(tmp_path, mode):
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (160, 120))
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.jpg", quality=95)
    small, size = read_shrunk(str(tmp_path / "a.jpg"), "an image", shrink=lambda *_: 2)
    assert (small.shape, size) == ((60, 80, 3), (120, 160))
    expected = cv2.resize(read_image(str(tmp_path / "a.jpg"), "an image"), (80, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(float) - expected).mean() < 3


# Errors are those of whole decoding


@pytest.mark.parametrize("size", [(484, 645), (483, 646), (482, 645), (645, 483)])
def test_a_stored_size_that_differs_by_a_pixel_is_still_told(tmp_path, size):
    dataset = open_folder(write_folder(tmp_path, size=size))
    told = []
    for shrink in (None, lambda height, width: 8):
        with pytest.raises(DataError, match=f"has 645 x 483 pixels, but {size[1]} x {size[0]} in ") as caught:
            dataset.sample(0, shrink)
        told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.parametrize("keep", [0, 1, 2, 20, 160, 300, 600, 0.3, 0.5, 0.9])
def test_a_truncated_jpeg_fails_or_passes_as_it_does_whole(tmp_path, keep):
    path = write_folder(tmp_path) / "a.jpg"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    outcomes = []
    for shrink in (None, lambda height, width: 4):
        try:
            outcomes.append(read_shrunk(str(path), "image 5", shrink=shrink)[1])
        except DataError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
    assert "image 5 cannot be decoded" in outcomes[0] or keep == 0.9  # some versions of OpenCV fill up what lacks


def test_a_jpeg_with_damaged_tables_fails_as_it_does_whole(tmp_path):
    path = write_folder(tmp_path) / "a.jpg"
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc4")
    content[place + 5 : place + 40] = b"\xff" * 35
    path.write_bytes(bytes(content))
    for shrink in (None, lambda height, width: 4):
        with pytest.raises(DataError, match=r"image 5 'a.jpg' cannot be decoded"):
            open_folder(tmp_path).sample(0, shrink)


# EXIF


def turned_jpeg(height: int, width: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # turn by 90 degrees to show
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "JPEG", exif=b"Exif\0\0" + tiff)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(200, 303), (303, 200), (201, 200), (200, 200)])
@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_the_size_of_a_turned_image_is_that_of_whole_decoding(tmp_path, size, exif):
    (tmp_path / "a.jpg").write_bytes(turned_jpeg(*size))
    whole, stored = read_shrunk(str(tmp_path / "a.jpg"), "an image", exif=exif)
    assert stored == whole.shape[:2] == (size if exif == "ignore" else size[::-1])
    for denominator in (2, 4, 8):
        small, found = read_shrunk(str(tmp_path / "a.jpg"), "an image", exif=exif, shrink=lambda *_, d=denominator: d)
        assert found == stored
        assert small.shape[:2] == reduced_size(*stored, denominator)


@pytest.mark.parametrize(("exif", "size"), [("apply", (200, 199)), ("ignore", (25, 25))])
def test_an_image_whose_turn_could_not_be_seen_is_read_whole(tmp_path, exif, size):
    (tmp_path / "a.jpg").write_bytes(turned_jpeg(199, 200))  # 25 x 25 at an eighth
    small, stored = read_shrunk(str(tmp_path / "a.jpg"), "an image", exif=exif, shrink=lambda *_: 8)
    assert small.shape[:2] == size
    assert stored == ((200, 199) if exif == "apply" else (199, 200))
