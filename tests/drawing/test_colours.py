from __future__ import annotations

import itertools

import numpy as np

from retina.drawing.colours import DEUTERANOPIA, NUM_COLORS, OKABE_ITO, class_color, seen_colors, text_color


def test_colors_are_fixed_whatever_the_number_of_classes():
    assert class_color(0) == (0, 114, 178)
    assert [class_color(k) for k in range(7)] == list(OKABE_ITO)
    # The first that the rule adds; another rule would change the colours of every earlier picture.
    assert class_color(7) == (0, 0, 255)


def test_all_colors_of_the_palette_differ_and_then_begin_again():
    colors = [class_color(k) for k in range(NUM_COLORS)]
    assert len(set(colors)) == NUM_COLORS
    assert class_color(NUM_COLORS) == colors[0]


def test_the_first_twelve_differ_visibly_also_for_red_green_blind_eyes():
    seen_normal, seen_deficient = seen_colors(np.array([class_color(k) for k in range(12)]))
    for seen in (seen_normal, seen_deficient):
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        assert min(distances) > 10, "a difference of 2.3 is just noticeable side by side"


def test_grey_stays_grey_for_red_green_blind_eyes():
    assert abs(DEUTERANOPIA.sum(axis=1) - 1).max() < 1e-5


def test_text_is_dark_on_light_and_light_on_dark():
    assert text_color((240, 228, 66)) == (0, 0, 0)
    assert text_color((0, 0, 255)) == (255, 255, 255)
