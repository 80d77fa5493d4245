from __future__ import annotations

import pytest
from PIL import Image

from retina.data.catalogue import IMAGE_GRAY, IMAGE_MISSING, IMAGE_TRUNCATED, IMAGE_WRONG_SIZE
from retina.data.checks.images import check_images, file_fault, is_local


def names(check):
    return {finding.fault.name: finding.count for finding in check.findings}


@pytest.mark.parametrize("depth", ["header", "all"])
def test_sound_images_have_no_findings(data, depth):
    check = check_images(data.open(), depth=depth)
    assert names(check) == {}
    assert len(check.seen) == 4
    assert not any(each.is_bad for each in check.seen)


def test_each_image_is_told_by_id_and_name(data):
    data.image(2).unlink()
    (finding,) = check_images(data.open(), depth="all").findings
    assert finding.fault is IMAGE_MISSING
    assert tuple(map(str, finding.places)) == ("image 12 'train_2.jpg'",)
    assert finding.file == str(data.root / "train")


def test_a_cut_off_image_is_found_by_reading_all_of_it_only(data):
    content = data.image(1).read_bytes()
    data.image(1).write_bytes(content[:-500])
    dataset = data.open()
    assert names(check_images(dataset, depth="header")) == {}
    check = check_images(dataset, depth="all")
    assert names(check) == {IMAGE_TRUNCATED.name: 1}
    assert [s.index for s in check.seen if IMAGE_TRUNCATED in dict(s.faults)] == [1]
    assert check.seen[1].thumbnail is None


@pytest.mark.parametrize("depth", ["header", "all"])
def test_pixels_of_another_size_are_told_with_both(data, depth):
    Image.effect_noise((32, 24), 50).convert("RGB").save(data.image(1))
    check = check_images(data.open(), depth=depth)
    assert names(check) == {IMAGE_WRONG_SIZE.name: 1}
    assert "32 x 24 pixels, 64 x 48 in the annotations" in check.findings[0].places[0].text
    assert [(s.index, s.header.size) for s in check.seen if IMAGE_WRONG_SIZE in dict(s.faults)] == [(1, (24, 32))]


@pytest.mark.parametrize(
    ("exif", "size", "expected"),
    [
        ("ignore", (64, 48), {"image-turned": 1}),
        ("ignore", (48, 64), {"image-sides-swapped": 1}),
        ("apply", (48, 64), {}),
        ("apply", (64, 48), {"image-sides-swapped": 1}),
    ],
)
def test_the_cameras_note_is_judged_by_the_policy(data, exif, size, expected):
    noted = Image.Exif()
    noted[0x0112] = 6
    Image.effect_noise(size, 50).convert("RGB").save(data.image(1), exif=noted)
    data.exif = exif
    assert names(check_images(data.open(), depth="header")) == expected


def test_only_the_asked_for_images_are_looked_at(data):
    for index in (0, 1):
        Image.effect_noise((64, 48), 50).save(data.image(index))
    check = check_images(data.open(), depth="header", indices=[1, 3])
    assert [each.index for each in check.seen] == [1, 3]
    assert names(check) == {IMAGE_GRAY.name: 1}


def test_how_far_the_pass_is_can_be_shown(data):
    shown = []

    def track(items, total, title):
        for item in items:
            shown.append((total, title))
            yield item

    check_images(data.open(), depth="all", track=track)
    assert shown == [(4, "train: images")] * 4


def test_a_file_that_is_there_has_a_path_and_no_kind(data):
    dataset = data.open()
    assert file_fault(dataset, 0) == (str(data.image(0)), None)
    assert dataset.annotations.image_place(0).text == "image 10 'train_0.jpg'"
    assert is_local(dataset)
