from __future__ import annotations

import math

import albumentations as A
import cv2
import numpy as np
import pytest

from retina.data.transforms.color import ColorMatrix
from retina.data.transforms.copy_paste import CopyPaste
from retina.data.transforms.crops import CenterSafeCrop, LargeScaleJitter, ScaleCrop
from retina.data.transforms.mixing import MixUp, Mosaic
from retina.data.transforms.resize import Resize, flatten, max_zoom, resize_scale, resized_size, scaled_pixels

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


class Declared(A.ImageOnlyTransform):
    """A transform of a user who says what it needs."""

    max_zoom = 3.0


class Derived(A.HorizontalFlip):
    """Of a listed kind, and yet nobody knows what it does."""


@pytest.mark.parametrize(
    ("transforms", "zoom"),
    [
        ([], 1),
        ([A.HorizontalFlip(), ColorMatrix(), A.ColorJitter()], 1),
        ([ScaleCrop((0.6, 1.6))], 1.6),
        ([ScaleCrop((0.5, 0.8))], 1),  # a smaller image still wants nothing larger than the plain resize
        ([ScaleCrop((1, 2)), ScaleCrop((1, 3))], 6),
        ([A.OneOf([A.Sequential([ScaleCrop((1, 1.5)), A.VerticalFlip()]), A.D4()])], 1.5),
        ([Declared()], 3),
        ([A.RandomCrop(16, 16)], math.inf),
        ([Mosaic((0.4, 0.8)), MixUp()], 1),
        ([Mosaic((0.4, 1.5)), CopyPaste(scale=(0.5, 1.2)), LargeScaleJitter((0.1, 2))], 3.6),
        ([CenterSafeCrop(0.25)], 4),
        ([ScaleCrop((1, 1.5)), Resize(), A.GaussNoise(), A.RandomCrop(16, 16)], 1.5),  # they see the input's pixels
        ([A.HorizontalFlip(), A.OneOf([A.Blur(), A.NoOp()])], math.inf),
        ([Derived()], math.inf),
    ],
)
def test_the_greatest_zoom_of_all_transforms_counts_and_the_unknown_is_infinite(transforms, zoom):
    assert max_zoom(transforms) == pytest.approx(zoom)


def test_flatten_yields_containers_and_what_they_hold():
    flip, crop = A.HorizontalFlip(), A.RandomCrop(8, 8)
    container = A.OneOf([crop])
    assert list(flatten([flip, container])) == [flip, container, crop]
