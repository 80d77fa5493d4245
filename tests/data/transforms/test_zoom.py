from __future__ import annotations

import math

import albumentations as A
import pytest

from retina.data.augment import ColorMatrix
from retina.data.transforms.copy_paste import CopyPaste
from retina.data.transforms.crops import CenterSafeCrop, LargeScaleJitter, ScaleCrop
from retina.data.transforms.mixing import MixUp, Mosaic
from retina.data.transforms.resize import Resize
from retina.data.transforms.zoom import flatten, max_zoom


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
