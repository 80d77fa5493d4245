from __future__ import annotations

import cv2
import numpy as np
import pytest

from retina.data.checks.images import check_images
from retina.doctor.duplicates import MAX_COMPARED, duplicate_findings, find_duplicates, near_pairs
from tests.sound_data import encoded_picture


def checked(data):
    datasets = {split: data.open(split) for split in ("train", "val")}
    return {split: check_images(dataset, depth="all") for split, dataset in datasets.items()}, datasets


def found(data):
    checks, datasets = checked(data)
    pairs, left = find_duplicates(checks)
    return {f.fault.name: tuple(map(str, f.places)) for f in duplicate_findings(pairs, left, datasets)}


def test_different_pictures_are_not_told(data):
    assert found(data) == {}


def test_a_copy_in_the_other_split_is_a_leak(data):
    (data.root / "val" / "val_1.jpg").write_bytes(data.image(2).read_bytes())
    assert found(data) == {"split-leak": ("train image 12 'train_2.jpg' and val image 51 'val_1.jpg'",)}


def test_copies_in_one_split_are_each_told_beside_the_first(data):
    for index in (1, 3):
        data.image(index).write_bytes(data.image(0).read_bytes())
    assert found(data) == {
        "images-identical": (
            "train image 10 'train_0.jpg' and train image 11 'train_1.jpg'",
            "train image 10 'train_0.jpg' and train image 13 'train_3.jpg'",
        )
    }


def image(seed):
    return cv2.imdecode(np.frombuffer(encoded_picture(seed), np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture,  # compressed once more
        lambda picture: np.clip(picture * 1.1 + 8, 0, 255).astype(np.uint8),
        lambda picture: np.roll(picture, 1, axis=1),
        lambda picture: cv2.resize(cv2.resize(picture, (32, 24)), (64, 48)),
    ],
    ids=["compressed", "brighter", "shifted", "smaller and back"],
)
def test_a_changed_copy_in_the_other_split_is_a_leak(data, change):
    cv2.imwrite(str(data.root / "val" / "val_1.jpg"), change(image(2)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert found(data) == {"split-near-leak": ("train image 12 'train_2.jpg' and val image 51 'val_1.jpg'",)}


def test_pairs_are_those_of_the_full_table_of_correlations():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 24, 24)).astype(np.uint8)
    for copy, original in ((50, 3), (51, 3), (52, 40)):
        pictures[copy] = np.clip(pictures[original] + rng.normal(0, 12, (24, 24)), 0, 255)
    table = np.corrcoef(pictures.reshape(60, -1).astype(float))
    expected = {(i, j) for i in range(60) for j in range(i + 1, 60) if table[i, j] >= 0.93}
    pairs = near_pairs(pictures)
    assert {(i, j) for i, j, _ in pairs} == expected == {(3, 50), (3, 51), (50, 51), (40, 52)}
    for i, j, correlation in pairs:
        assert correlation == pytest.approx(table[i, j], abs=1e-5)


def test_flat_pictures_are_not_alike_by_their_noise():
    flat = np.full((5, 24, 24), 200, dtype=np.uint8)
    assert near_pairs(flat) == []
    assert near_pairs(np.zeros((0, 24, 24), dtype=np.uint8)) == []


def test_too_many_images_are_said_not_to_be_compared(data, monkeypatch):
    monkeypatch.setattr("retina.doctor.duplicates.MAX_COMPARED", 3)
    assert MAX_COMPARED > 100_000
    assert list(found(data)) == ["images-not-checked"]
