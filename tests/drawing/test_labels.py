from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retina.drawing.labels import Pen, place_labels, whole_pixels


def place(box: list[float], text: tuple[str, str] = ("person", "0.98"), size=(480, 640)):
    return place_labels(np.array([box], dtype=float), [text], size, Pen.for_image(*size))[0]


def test_a_label_stands_above_its_box_with_its_left_end():
    x1, _, _, y2 = place([100, 200, 300, 400]).background
    assert (x1, y2) == (100, 200)


def test_at_the_top_edge_it_goes_into_the_box():
    x1, y1, _, _ = place([100, 3, 300, 400]).background
    assert (x1, y1) == (100, 3)


def test_at_the_right_edge_it_moves_left():
    label = place([630, 200, 640, 400])
    assert label.background[2] == 640
    assert label.text == "person 0.98"


def test_labels_of_two_boxes_at_one_place_do_not_cover_each_other():
    boxes = np.array([[100, 200, 300, 400], [102, 201, 300, 400]], dtype=float)
    first, second = place_labels(boxes, [("cat", "0.90"), ("dog", "0.80")], (480, 640), Pen.for_image(480, 640))
    assert first.background[3] == 200
    assert second.background[1] >= first.background[3] or second.background[0] >= first.background[2]


def test_a_name_too_long_for_the_image_is_cut_and_its_score_stays():
    label = place([0, 100, 50, 120], ("extraordinarily " * 10, "0.75"), size=(200, 200))
    assert label.text.startswith("extraord")
    assert label.text.endswith("... 0.75")


def test_line_breaks_in_a_name_become_spaces():
    assert place([10, 100, 50, 120], ("white\nblood\tcell", "")).text == "white blood cell"


@settings(deadline=None, max_examples=200)
@given(
    size=st.tuples(st.integers(4, 2000), st.integers(4, 2000)),
    boxes=st.lists(st.lists(st.floats(-100, 2100), min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_every_label_lies_inside_any_image(size, boxes):
    height, width = size
    labels = place_labels(np.array(boxes), [("person", "0.50")] * len(boxes), size, Pen.for_image(*size))
    assert len(labels) == len(boxes)
    for label in labels:
        x1, y1, x2, y2 = label.background
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize(("side", "line_width", "font_size"), [(100, 2, 11), (600, 2, 13), (3000, 10, 67)])
def test_lines_and_letters_grow_with_the_image(side, line_width, font_size):
    assert Pen.for_image(side, side) == Pen(line_width, font_size)


def test_a_box_outside_the_image_is_one_pixel_at_its_edge():
    assert whole_pixels(np.array([200.0, -50, 300, -20]), 100, 100) == (99, 0, 100, 1)
