"""A fixed colour for every class, told apart also by colour-blind eyes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Color = tuple[int, int, int]  # RGB, 0..255

# Source: Okabe and Ito 2008, Color Universal Design, without black, yellow last (it is faint on bright images).
OKABE_ITO: tuple[Color, ...] = (
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (240, 228, 66),  # yellow
)
NUM_COLORS = 96  # label 96 has the colour of label 0; so many cannot be told apart anyway

# What linear RGB looks like to eyes without the medium-wave cones, the most frequent colour blindness.
# Source: Machado, Oliveira and Fernandes 2009, A Physiologically-based Model for Simulation of Color Vision
# Deficiency, deuteranomaly of severity 1.0.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# Linear sRGB to XYZ over the D65 white. Source: IEC 61966-2-1.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def class_color(label: int) -> Color:
    """Return the RGB colour of class ``label``, whatever the number of classes."""
    return _palette()[label % NUM_COLORS]


def text_color(background: Color) -> Color:
    """Return black or white, whichever has the higher contrast on ``background``.

    Source: WCAG 2.1, relative luminance; 0.179 is where both contrasts are equal.
    """
    luminance = _linear(np.array(background)) @ XYZ[1]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


@lru_cache(maxsize=1)
def _palette() -> tuple[Color, ...]:
    """Extend the seven colours, each time by the candidate farthest from all before it."""
    steps = np.arange(0, 256, 51)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = _lab(_linear(grid))[:, 0]
    candidates = grid[(lightness > 30) & (lightness < 92)]  # neither near black nor near white
    normal, deficient = seen_colors(candidates)
    colors = list(OKABE_ITO)
    nearest = np.full(len(candidates), np.inf)
    for color in OKABE_ITO:
        nearest = np.minimum(nearest, _distance(color, normal, deficient))
    while len(colors) < NUM_COLORS:
        red, green, blue = candidates[int(nearest.argmax())].tolist()
        colors.append((red, green, blue))
        nearest = np.minimum(nearest, _distance(colors[-1], normal, deficient))
    return tuple(colors)


def _distance(color: Color, normal: np.ndarray, deficient: np.ndarray) -> np.ndarray:
    """Return the smaller of the two distances that normal and colour-blind eyes see to each candidate."""
    own_normal, own_deficient = seen_colors(np.array([color]))
    return np.minimum(np.linalg.norm(normal - own_normal, axis=1), np.linalg.norm(deficient - own_deficient, axis=1))


def seen_colors(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(N, 3)`` L*a*b* of ``(N, 3)`` sRGB colours as normal and as red-green-blind eyes see them."""
    linear = _linear(colors)
    return _lab(linear), _lab((linear @ DEUTERANOPIA.T).clip(0, 1))


def _linear(colors: np.ndarray) -> np.ndarray:
    """Return linear light 0..1 of sRGB 0..255. Source: IEC 61966-2-1."""
    value = colors / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear RGB, where distance is close to visible difference. Source: CIE 15:2004."""
    relative = linear @ XYZ.T / XYZ.sum(axis=1)
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
