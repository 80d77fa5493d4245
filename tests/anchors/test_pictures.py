from __future__ import annotations

import numpy as np
import pytest

from retina.anchors.pictures import (
    BELOW,
    BETWEEN,
    LOST,
    REACHED,
    boxes_beside_anchors,
    shapes_at_their_cells,
    sizes_under_anchors,
)
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.drawing.colours import class_color

WHITE = (255, 255, 255)


@pytest.fixture
def image() -> np.ndarray:
    return np.full((480, 640, 3), 90, dtype=np.uint8)


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


def panel(image: np.ndarray, boxes: list[list[float]], **rule) -> np.ndarray:
    return boxes_beside_anchors(image, np.array(boxes, dtype=np.float32).reshape(-1, 4), (480, 640),
                                [("now", Assigner(**rule))])  # fmt: skip


@pytest.mark.parametrize(
    ("box", "rule", "color"),
    [
        ([184, 184, 216, 216], {}, REACHED),  # an anchor of 32 px stands at (200, 200)
        ([190, 190, 212, 212], {"negative_iou": 0.3}, BETWEEN),
        ([300, 100, 304, 104], {}, BELOW),
        ([300, 100, 304, 104], {"match_every_box": False}, LOST),
    ],
)
def test_a_box_has_the_color_of_what_its_best_anchor_does(image, box, rule, color):
    picture = panel(image, [box], **rule)
    for other in (REACHED, BETWEEN, BELOW, LOST):
        assert has_color(picture, other) == (other == color)
    assert has_color(picture, WHITE)


def test_of_two_equal_boxes_the_second_is_lost_and_the_caption_counts(image):
    once, twice = (panel(image, [[184, 184, 216, 216]] * count) for count in (1, 2))
    assert not has_color(once, LOST)
    assert has_color(twice, LOST)
    strip = twice.shape[0] - image.shape[0]
    assert (once[:strip] != twice[:strip]).any()


def test_the_best_anchor_stands_where_it_is_around_the_box(image):
    strip = panel(image, []).shape[0] - 480
    picture = panel(image, [[190, 190, 216, 216]])[strip:]
    assert tuple(picture[200, 184]) == tuple(picture[215, 187]) == WHITE  # the anchor of 32 px at (200, 200)


def test_panels_stand_side_by_side_and_small_images_are_doubled(image):
    named = [("before", Assigner()), ("after", Assigner(AnchorGenerator(base_scale=2.0)))]
    box = np.array([[20, 20, 60, 50]], dtype=np.float32)
    both = boxes_beside_anchors(image, box, (480, 640), named)
    assert both.shape[1] == 2 * 640 + 6
    small = boxes_beside_anchors(image[:100, :200], box, (128, 224), named[:1])
    assert (small.shape[1], small.dtype) == (400, np.uint8)


def test_images_without_boxes_and_boxes_beyond_the_border_are_drawn(image):
    assert panel(image, []).shape[1] == 640
    assert panel(image, [[-50, -50, 700, 500], [639.6, 479.6, 640, 480]]).shape[1] == 640


def test_every_level_shows_its_shapes_at_one_cell(image):
    generator = AnchorGenerator((8, 16), scales=(1.0, 2.0), aspect_ratios=(1.0,))
    picture = shapes_at_their_cells(image, [("before", Assigner(generator))] * 3)
    width = 2 * 640 + 6
    assert picture.shape[1] == width
    strip = picture.shape[0] // 3 - 480
    first = picture[strip : strip + 480, :640]
    # 32 and 64 px around the cell at (320, 240), each scale in a colour of its own.
    assert tuple(first[240, 304]) == class_color(0)
    assert tuple(first[240, 288]) == class_color(1)
    assert (picture[: strip + 480] == picture[strip + 480 : 2 * (strip + 480)]).all()


def test_the_plot_is_dark_where_boxes_are_and_has_a_mark_for_every_shape():
    generator = AnchorGenerator((8,), scales=(1.0,), aspect_ratios=(1.0,))
    sides = np.tile([[128.0, 16.0]], (50, 1))
    picture = sizes_under_anchors(sides, [("before", generator)])
    strip = picture.shape[0] - (560 + 88)
    plot = picture[strip + 44 : strip + 44 + 560, 44 : 44 + 560]
    column, row = (8 * int(560 * (np.log2(side) - 2) / 9 / 8) + 4 for side in (128, 16))  # the middle of a cell
    assert plot[560 - row, column].max() < 80, "wide boxes stand to the right and below"
    assert plot[row, column].min() == 255
    at = round(560 * (np.log2(32) - 2) / 9)
    assert tuple(plot[560 - at, at]) == class_color(0)


def test_sizes_beyond_the_plot_stand_at_its_border():
    picture = sizes_under_anchors(np.array([[1.0, 9000.0], [3.0, 5000.0]]), [("now", AnchorGenerator())] * 2)
    assert picture.dtype == np.uint8
