from __future__ import annotations

import colorsys

import numpy as np
import pytest

from retina.data.transforms.color import (
    LUMA,
    brightness_matrix,
    color_matrix,
    compose,
    contrast_matrix,
    hue_matrix,
    saturation_matrix,
)

GREY = np.array([90.0, 90.0, 90.0])


def applied(matrix: np.ndarray, colors: np.ndarray) -> np.ndarray:
    return colors @ matrix[:, :3].T + matrix[:, 3]


def colors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (50, 3))


def test_one_matrix_equals_the_four_changes_one_after_the_other():
    rgb = colors()
    expected = rgb * 1.2  # brightness
    expected = (expected - (expected.mean(axis=0) @ LUMA)) * 0.7 + expected.mean(axis=0) @ LUMA  # contrast
    expected = (expected - (expected @ LUMA)[:, None]) * 1.4 + (expected @ LUMA)[:, None]  # saturation
    expected = applied(hue_matrix(0.05), expected)
    matrix = color_matrix(brightness=1.2, contrast=0.7, saturation=1.4, hue=0.05, mean_rgb=rgb.mean(axis=0))
    np.testing.assert_allclose(applied(matrix, rgb), expected, atol=1e-10)


def test_neutral_factors_change_nothing():
    matrix = color_matrix(brightness=1, contrast=1, saturation=1, hue=0, mean_rgb=GREY)
    np.testing.assert_allclose(matrix, np.eye(3, 4), atol=1e-12)


def test_compose_is_one_map_after_the_other():
    first, then = contrast_matrix(0.5, grey=100), brightness_matrix(2.0)
    np.testing.assert_allclose(applied(compose(first, then), colors()), applied(then, applied(first, colors())))


def test_contrast_keeps_its_grey():
    np.testing.assert_allclose(applied(contrast_matrix(0.3, grey=90), GREY), GREY)


def test_saturation_zero_is_grey_of_the_same_luma():
    grey = applied(saturation_matrix(0.0), colors())
    np.testing.assert_allclose(grey, np.repeat((colors() @ LUMA)[:, None], 3, axis=1))


@pytest.mark.parametrize("turns", [-0.3, 0.02, 0.5])
def test_hue_keeps_luma_and_greys(turns):
    matrix = hue_matrix(turns)
    np.testing.assert_allclose(applied(matrix, colors()) @ LUMA, colors() @ LUMA, atol=1e-9)
    np.testing.assert_allclose(applied(matrix, GREY), GREY, atol=1e-9)


def test_hue_by_a_whole_turn_changes_nothing():
    np.testing.assert_allclose(hue_matrix(1.0), np.eye(3, 4), atol=1e-12)


def test_a_small_turn_of_hue_goes_the_way_of_hsv():
    red = np.array([200.0, 50.0, 50.0])
    turned = applied(hue_matrix(0.05), red)
    hue = colorsys.rgb_to_hsv(*(turned / 255))[0]
    assert 0.02 < hue < 0.09  # from red towards yellow, as adding to the hue does
