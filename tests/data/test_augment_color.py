"""Colour as one matrix, as a transform."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from retina.data.augment import Augment
from retina.data.samplers import SampleKey
from retina.data.transforms.color import ColorMatrix, color_matrix
from retina.structures import BoxTargets, Sample


def make_sample(seed: int = 0) -> Sample:
    generator = np.random.default_rng(seed)
    image = cv2.GaussianBlur(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8), (5, 5), 0)
    boxes = torch.tensor([[3.0, 4.0, 30.5, 20.25], [40.0, 10.0, 64.0, 48.0]])
    return Sample(image, BoxTargets(boxes, torch.tensor([3, 4]), torch.zeros(0, 4)), 5, (48, 64))


def augment(*transforms, short_side: int, long_side: int) -> Augment:
    return Augment(list(transforms), short_side=short_side, long_side=long_side, seed=0)


def test_the_matrix_on_uint8_equals_the_factors_in_float_within_one_level():
    sample = make_sample(seed=3)
    transform = ColorMatrix(0.4, 0.4, 0.4, 0.1, p=1)
    for seed in range(10):
        transform.set_random_seed(seed)
        factors = transform.get_params()["factors"]
        result = transform.apply(sample.image, factors=factors)
        image = sample.image.astype(np.float64)
        matrix = color_matrix(**factors, mean_rgb=image.mean(axis=(0, 1)))
        expected = (image @ matrix[:, :3].T + matrix[:, 3]).clip(0, 255)
        assert result.dtype == np.uint8
        assert np.abs(result - expected).max() <= 1.0


def test_color_leaves_boxes_alone():
    sample = make_sample()
    result = augment(ColorMatrix(p=1), short_side=48, long_side=64).transform(sample, SampleKey(0, 0))
    assert not np.array_equal(result.image, sample.image)
    torch.testing.assert_close(result.targets.boxes, sample.targets.boxes, atol=1e-4, rtol=0)


def test_color_of_zero_strength_changes_nothing():
    sample = make_sample()
    result = augment(ColorMatrix(0, 0, 0, 0, p=1), short_side=48, long_side=64).transform(sample, SampleKey(0, 0))
    np.testing.assert_array_equal(result.image, sample.image)


def test_factors_stay_in_their_intervals():
    transform = ColorMatrix(0.2, [0.5, 0.6], 1.5, 0.02)
    drawn = [transform.get_params()["factors"] for _ in range(200)]
    for name, low, high in (
        ("brightness", 0.8, 1.2),
        ("contrast", 0.5, 0.6),
        ("saturation", 0.0, 2.5),
        ("hue", -0.02, 0.02),
    ):
        values = [factors[name] for factors in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


@pytest.mark.parametrize("value", [-0.1, [1.2, 0.8], [-1, 1], float("nan")])
def test_strengths_that_make_no_sense_are_refused(value):
    with pytest.raises(ValueError, match="brightness must be"):
        ColorMatrix(brightness=value)
