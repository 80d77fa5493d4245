"""Checks of all boxes at once, against loops over pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from retina.data import box_checks
from retina.data.box_checks import (
    clipped_corners,
    duplicate_boxes,
    leaves_image,
    look_at_boxes,
    read_as_corners,
    read_as_relative,
)
from retina.doctor.duplicates import near_duplicate_pairs


def crowded(seed: int, images: int = 30):
    """Offsets, labels and xywh of objects of which many nearly repeat another."""
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(generator.integers(0, 25, images))])
    count = int(offsets[-1])
    boxes = generator.integers(0, 2, (count, 4)) * [10.0, 10, 10, 0] + [0, 0, 30, 30]
    boxes += generator.choice([0, 0, 0, 0.5], (count, 4))
    return offsets, generator.integers(0, 3, count), boxes


@pytest.fixture(params=[1 << 20, 40], ids=["one block", "many blocks"])
def _blocks(request, monkeypatch) -> None:
    monkeypatch.setattr(box_checks, "_BLOCK", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("iou", [0.5, 0.9])
def test_near_duplicates_are_those_that_comparing_every_pair_finds(iou):
    offsets, labels, boxes = crowded(seed=1)
    corners = clipped_corners(boxes, np.full((len(boxes), 2), 1000))
    expected = []
    for first, last in zip(offsets[:-1], offsets[1:], strict=True):
        overlaps = box_iou(*[torch.from_numpy(corners[first:last]).double()] * 2).numpy()
        expected += [
            [first + i, first + j]
            for i, j in zip(*np.nonzero(np.triu(overlaps > iou, k=1)), strict=True)
            if labels[first + i] == labels[first + j]
        ]
    assert len(expected) > 20
    assert near_duplicate_pairs(offsets, labels, corners, iou=iou).tolist() == expected


def test_objects_with_a_negative_label_are_not_compared():
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]], dtype=np.float32)
    assert near_duplicate_pairs(np.array([0, 3]), np.array([0, -1, 0]), corners).tolist() == [[0, 2]]
    assert near_duplicate_pairs(np.array([0, 0]), np.zeros(0), np.zeros((0, 4))).shape == (0, 2)


@pytest.mark.usefixtures("_blocks")
def test_duplicates_are_those_that_a_set_of_rows_finds():
    offsets, labels, boxes = crowded(seed=2)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    seen, expected = set(), []
    for index, row in enumerate(zip(owner.tolist(), labels.tolist(), map(tuple, boxes.tolist()), strict=True)):
        if row in seen:
            expected.append(index)
        seen.add(row)
    assert len(expected) > 3
    assert duplicate_boxes(offsets, labels, boxes).tolist() == expected


def test_corners_are_clipped_and_leaving_is_told_beyond_rounding():
    boxes = np.array([[10, 10, 90, 40], [10, 10, 90.01, 40], [10, 10, 95, 40], [-5, 0, 10, 10.0]])
    sizes = np.tile([50, 100], (4, 1))
    assert clipped_corners(boxes, sizes).tolist() == [[10, 10, 100, 50]] * 3 + [[0, 0, 5, 10]]
    assert leaves_image(boxes, sizes).tolist() == [False, False, True, True]


def looks(boxes, size=(480, 640)):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return look_at_boxes(boxes, np.zeros(len(boxes), dtype=np.int64), np.array([size]))


@pytest.mark.usefixtures("_blocks")
def test_each_box_is_looked_at_with_the_size_of_its_image():
    generator = np.random.default_rng(0)
    owner, sizes = generator.integers(0, 9, 100), generator.integers(20, 60, (9, 2))
    boxes = generator.uniform(-30, 60, (100, 4))
    together = look_at_boxes(boxes, owner, sizes)
    for index in range(100):
        alone = look_at_boxes(boxes[index : index + 1], np.zeros(1, dtype=np.int64), sizes[owner[index : index + 1]])
        for name, column in vars(together).items():
            assert column[index].tolist() == vars(alone)[name][0].tolist(), name
    assert together.usable.sum() > 10
    assert together.leaves.sum() > 10


@pytest.mark.parametrize("seed", range(5))
def test_corners_in_place_of_sides_are_recognised_and_sides_are_not(seed):
    generator = np.random.default_rng(seed)
    first = generator.uniform(0, [500, 380], (40, 2))
    last = first + generator.uniform(0.05, 1, (40, 2)) * ([640, 480] - first)
    assert read_as_corners(looks(np.concatenate([first, last], axis=1))).sum() >= 4
    assert not read_as_corners(looks(np.concatenate([first, last - first], axis=1))).any()


def test_boxes_of_the_whole_image_that_begin_at_one_are_no_corners():
    assert not read_as_corners(looks([[1, 1, 640, 480]] * 20)).any()


def test_one_box_that_leaves_its_image_is_no_sign_of_corners():
    assert not read_as_corners(looks([[400, 300, 600, 400]] + [[300, 200, 100, 100]] * 20)).any()


def test_shares_of_the_image_are_recognised():
    assert read_as_relative(looks([[0.1, 0.2, 0.5, 1.0], [np.nan, 1, 1, 1]]))
    assert not read_as_relative(looks([[0.1, 0.2, 0.5, 1.01]]))
    assert not read_as_relative(looks([[-0.1, 0.2, 0.5, 0.5]]))
    assert not read_as_relative(looks([]))
    assert not read_as_relative(looks([[0, 0, 1.0, 1.0]], size=(1, 1)))
