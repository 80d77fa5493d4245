from __future__ import annotations

import numpy as np
import pytest

from retina.anchors.coverage import NetworkBoxes
from retina.anchors.pictures import (
    BELOW,
    BETWEEN,
    LOST,
    REACHED,
    boxes_beside_anchors,
    images_to_draw,
    shapes_at_their_cells,
    sizes_figure,
)
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.drawing.colours import class_color, hexadecimal
from retina.drawing.figures import to_pixels

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
    row = (picture.shape[0] + 6) // 3  # with the gap below it
    strip = row - 6 - 480
    first = picture[strip : strip + 480, :640]
    # 32 and 64 px around the cell at (320, 240), each scale in a colour of its own.
    assert tuple(first[240, 304]) == class_color(0)
    assert tuple(first[240, 288]) == class_color(1)
    assert (picture[: strip + 480] == picture[row : row + strip + 480]).all()


def test_the_plot_is_dark_where_boxes_are_and_has_a_mark_for_every_shape():
    generator = AnchorGenerator((8,), scales=(1.0,), aspect_ratios=(1.0,))
    sides = np.concatenate([np.tile([[128.0, 16.0]], (50, 1)), [[1.0, 9000.0]]])
    (place,) = sizes_figure(sides, [("before", generator)]).axes
    mesh, (dots,) = place.collections[0], place.get_lines()
    edges = mesh.get_coordinates()[0, :, 0]
    counts = np.expm1(mesh.get_array())
    row, column = (int(np.searchsorted(edges, side, side="right")) - 1 for side in (16, 128))
    assert counts[row, column] == pytest.approx(50), "rows are heights: a wide box stands to the right and below"
    assert counts[-1, 0] == pytest.approx(1), "a box beyond the plot stands at its border"
    assert counts.sum() == pytest.approx(51)
    np.testing.assert_allclose(dots.get_xydata(), [[32, 32]])
    assert (place.get_xscale(), place.get_yscale()) == ("log", "log")
    assert dots.get_color() == hexadecimal(class_color(0))


def test_every_set_of_anchors_has_a_plot():
    figure = sizes_figure(np.array([[10.0, 10.0]]), [("before", AnchorGenerator()), ("after", AnchorGenerator())])
    assert [place.get_title(loc="left") for place in figure.axes] == ["before", "after"]
    assert to_pixels(figure, dpi=30).dtype == np.uint8


NAMED = [("before", Assigner())]


def objects_in(images: list[int], num_images: int, bad: int) -> NetworkBoxes:
    """A box of 32 px on an anchor in each of the images; in the bad one it is a sliver."""
    boxes = np.tile(np.array([[48.0, 48, 80, 80]], dtype=np.float32), (len(images), 1))
    boxes[images.index(bad), 3] = 49
    return NetworkBoxes(boxes, np.array(images), np.full((num_images, 2), 128), np.zeros(len(images), int),
                        np.ones(len(images)))  # fmt: skip


def test_the_worst_image_comes_first_and_images_without_boxes_never():
    objects = objects_in([1, 2, 3, 5, 7, 8], 10, bad=5)
    chosen = images_to_draw(objects, NAMED, 4)
    assert chosen[0] == 5
    assert len(chosen) == len(set(chosen)) == 4
    assert {1, 8} & set(chosen), "others are spread over the set"
    assert set(images_to_draw(objects, NAMED, 30)) == {1, 2, 3, 5, 7, 8}


def test_no_image_is_drawn_where_none_is_asked_for():
    assert images_to_draw(objects_in([0], 1, bad=0), NAMED, 0) == []
