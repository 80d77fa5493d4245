from __future__ import annotations

import cv2
import numpy as np
import pytest

from retina.data.transforms.resize import Resize, resize_scale, resized_size, scaled_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "sides", "scale", "result"),
    [
        ((427, 640), (800, 1333), 800 / 427, (800, 1199)),
        ((300, 640), (800, 1333), 1333 / 640, (625, 1333)),
        ((640, 300), (800, 1333), 1333 / 640, (1333, 625)),
        ((1, 5000), (800, 1333), 1333 / 5000, (1, 1333)),
    ],
)
def test_the_nearer_side_decides(size, sides, scale, result):
    short_side, long_side = sides
    assert resize_scale(*size, short_side=short_side, long_side=long_side) == pytest.approx(scale)
    assert resized_size(*size, short_side=short_side, long_side=long_side) == result


def test_resize_is_opencvs_bilinear():
    result = Resize(20, 30).apply(PIXELS)
    np.testing.assert_array_equal(result, cv2.resize(PIXELS, (30, 20), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("size", [(40, 60), (30, 50), (80, 100), (19, 40), (40, 20)])
def test_a_moderate_change_of_size_is_bilinear(size):
    np.testing.assert_array_equal(scaled_pixels(PIXELS, size), cv2.resize(PIXELS, size[::-1]))


def test_far_smaller_is_the_mean_of_areas():
    expected = PIXELS.reshape(10, 4, 15, 4, 3).mean(axis=(1, 3))
    assert np.abs(scaled_pixels(PIXELS, (10, 15)) - expected).max() <= 0.5001
