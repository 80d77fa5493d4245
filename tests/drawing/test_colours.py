from __future__ import annotations

import itertools

import numpy as np
import pytest

from retina.drawing.colours import CLASS_COLORS, LINE_COLORS, class_color, hexadecimal, text_color

# What linear RGB looks like to eyes without the medium-wave cones, the most frequent colour blindness.
# Source: Machado, Oliveira and Fernandes 2009, A Physiologically-based Model for Simulation of Color Vision
# Deficiency, deuteranomaly of severity 1.0.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# Linear sRGB to XYZ over the D65 white. Source: IEC 61966-2-1.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen_colors(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L*a*b* of sRGB colours, where distance is close to visible difference, of normal and of red-green-blind eyes."""
    value = colors / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return lab(linear), lab((linear @ DEUTERANOPIA.T).clip(0, 1))


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB. Source: CIE 15:2004."""
    relative = linear @ XYZ.T / XYZ.sum(axis=1)
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_colors_are_fixed_whatever_the_number_of_classes():
    assert [class_color(k) for k in (0, 1, 7)] == [(0, 114, 178), (213, 94, 0), (0, 0, 255)]
    assert hexadecimal(class_color(0)) == "#0072b2"


def test_all_colors_of_the_palette_differ_and_then_begin_again():
    assert len(set(CLASS_COLORS)) == len(CLASS_COLORS) == 24
    assert class_color(len(CLASS_COLORS)) == class_color(0)


@pytest.mark.parametrize(("colors", "least"), [(CLASS_COLORS[:12], 10), (CLASS_COLORS, 8), (LINE_COLORS, 12)])
def test_colors_differ_visibly_also_for_red_green_blind_eyes(colors, least):
    for seen in seen_colors(np.array(colors)):
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        assert min(distances) > least, "a difference of 2.3 is just noticeable side by side"


def test_grey_stays_grey_for_red_green_blind_eyes():
    assert abs(DEUTERANOPIA.sum(axis=1) - 1).max() < 1e-5


def test_text_is_dark_on_light_and_light_on_dark():
    assert text_color((240, 228, 66)) == (0, 0, 0)
    assert text_color((0, 0, 255)) == (255, 255, 255)
