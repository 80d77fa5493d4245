from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.drawing.boxes import draw_boxes, strong
from retina.drawing.colours import class_color
from retina.structures import BoxTargets, Detections

NAMES = ("cell", "größe", "никто")


@pytest.fixture
def image() -> np.ndarray:
    return np.full((300, 420, 3), 90, dtype=np.uint8)


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


def test_the_outline_stands_on_the_edges_in_the_color_of_the_class(image):
    picture = draw_boxes(image, [[100, 150, 200, 250]], [1], class_names=NAMES)
    for y, x in [(150, 180), (249, 150), (200, 100), (200, 199)]:
        assert tuple(picture[y, x]) == class_color(1), (y, x)
    assert tuple(picture[200, 150]) == (90, 90, 90), "the inside stays free"
    assert tuple(picture[250, 150]) == (90, 90, 90)


def test_the_input_stays_as_it_is(image):
    for given in (image, image[:, ::-1], np.asfortranarray(image)):
        before = given.copy()
        picture = draw_boxes(given, [[0, 0, 420, 300]], [0], [0.5], class_names=NAMES)
        assert (given == before).all()
        assert (picture.shape, picture.dtype) == (given.shape, np.uint8)
        assert (picture != given).any()


def test_the_best_box_is_on_top(image):
    same = torch.tensor([[50.0, 100, 150, 200]] * 2)
    for scores, top in (([0.9, 0.3], 0), ([0.3, 0.9], 1)):
        picture = draw_boxes(image, same, torch.tensor([0, 1]), torch.tensor(scores), class_names=NAMES)
        assert tuple(picture[199, 149]) == class_color(top)


def test_without_scores_the_smaller_box_is_on_top(image):
    picture = draw_boxes(image, [[50, 100, 100, 200], [50, 100, 400, 200]], [0, 1], class_names=NAMES)
    assert tuple(picture[150, 50]) == class_color(0)


def test_no_boxes_leave_the_picture_as_it_is(image):
    empty = BoxTargets.empty()
    assert (draw_boxes(image, empty.boxes, empty.labels, [], class_names=NAMES) == image).all()


def test_crowds_are_dashed(image):
    picture = draw_boxes(image, [], [], class_names=NAMES, crowd_boxes=[[10, 10, 400, 200]])
    edge = (picture[10, 10:400] != 90).any(axis=-1)
    assert 0.3 < edge.mean() < 0.8


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (2000, 3000)])
def test_images_of_any_size_are_drawn_on(size):
    image = np.zeros((*size, 3), dtype=np.uint8)
    picture = draw_boxes(image, [[-5, -5, 1e4, 1e4], [0, 0, 0, 0]], [0, 2], [1.0, 0.5], class_names=NAMES)
    assert picture.shape == image.shape
    assert has_color(picture, class_color(0))


def test_lists_of_different_length_are_refused(image):
    with pytest.raises(ValueError, match="got 1 boxes, 2 labels and 1 scores"):
        draw_boxes(image, [[1, 2, 3, 4]], [0, 1], [0.5], class_names=NAMES)


def found(*scores: float) -> Detections:
    count = len(scores)
    return Detections(torch.tensor([[20.0, 60, 90, 140]] * count), torch.tensor(scores), torch.ones(count).long())


def test_weak_detections_are_left_out():
    assert strong(found(0.9, 0.3, 0.29), 0.3).scores.tolist() == pytest.approx([0.9, 0.3])
