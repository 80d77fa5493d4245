"""Backgrounds: textured, muted, and of other families for validation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from retina.data import shapes_textures
from retina.data.shapes_textures import TEXTURES, draw_background

ALL = [texture for family in TEXTURES.values() for texture in family]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_validation_shares_no_texture_with_training():
    assert len(ALL) == 7
    assert not set(TEXTURES["train"]) & set(TEXTURES["val"])


@pytest.mark.parametrize("texture", ALL, ids=lambda texture: texture.__name__)
def test_a_texture_fills_its_range_and_follows_its_seed(texture):
    for seed in range(10):
        field = texture(rng(seed), 256)
        assert field.shape == (256, 256)
        assert field.dtype == np.float32
        assert field.min() >= 0
        assert field.max() <= 1
        assert np.ptp(field) > 0.5
        np.testing.assert_array_equal(field, texture(rng(seed), 256))
        assert not np.array_equal(field, texture(rng(seed + 1), 256))


@pytest.mark.parametrize("texture", ALL, ids=lambda texture: texture.__name__)
def test_a_background_is_textured_and_never_wraps_around(texture):
    for seed in range(10):
        background = draw_background(rng(seed), texture, side=128)
        assert background.shape == (128, 128, 3)
        assert background.dtype == np.uint8
        gray = cv2.cvtColor(background, cv2.COLOR_RGB2GRAY)
        assert gray.std() > 4
        blocks = gray.reshape(8, 16, 8, 16).std(axis=(1, 3))
        assert np.median(blocks) > 1  # everywhere, not in one corner


def test_background_colours_are_muted_where_the_objects_are_saturated():
    for seed in range(50):
        table = shapes_textures._muted_palette(rng(seed)).astype(float)[:, 0]
        saturation = 1 - table.min(axis=1) / table.max(axis=1)
        assert saturation.max() < 0.4
