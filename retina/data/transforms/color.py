"""Changes of colour as affine maps of RGB, so that several make one matrix.

Every map is a ``(3, 4)`` float64 matrix that takes ``(r, g, b, 1)`` in 0..255 to the new ``(r, g, b)``.
"""

from __future__ import annotations

import math

import numpy as np

# Weights of red, green and blue in a grey value. Source: ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114])
# RGB to YIQ: Y is LUMA, I and Q carry colour and are 0 for grey. Source: NTSC 1953, as in `colorsys`' documentation.
RGB_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def brightness_matrix(factor: float) -> np.ndarray:
    """Return the map that multiplies every channel by ``factor``."""
    return _affine(factor * np.eye(3))


def contrast_matrix(factor: float, grey: float) -> np.ndarray:
    """Return the map that moves colours away from ``grey`` (the image's mean) by ``factor``."""
    return _affine(factor * np.eye(3), np.full(3, (1 - factor) * grey))


def saturation_matrix(factor: float) -> np.ndarray:
    """Return the map that moves colours away from the grey of the same luma by ``factor``; 0 makes all grey.

    Source: Haeberli 1993, Matrix Operations for Image Processing.
    """
    return _affine(factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1)))


def hue_matrix(turns: float) -> np.ndarray:
    """Return the map that turns colours around the grey axis by ``turns`` of a full circle; luma stays.

    A rotation in YIQ, near to a shift of hue in HSV and, unlike that, linear.
    """
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    rotation = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])  # hue grows from red to yellow
    return _affine(np.linalg.inv(RGB_TO_YIQ) @ rotation @ RGB_TO_YIQ)


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Return the one map that equals ``first`` and then ``then``."""
    return _affine(then[:, :3] @ first[:, :3], then[:, :3] @ first[:, 3] + then[:, 3])


def color_matrix(
    *, brightness: float, contrast: float, saturation: float, hue: float, mean_rgb: np.ndarray
) -> np.ndarray:
    """Return brightness, contrast, saturation and hue, in this order, as one map.

    Args:
        brightness: factor, 1 changes nothing; so are ``contrast`` and ``saturation``.
        contrast: factor around the grey of the image's mean, as in PIL and torchvision.
        saturation: factor.
        hue: turns of a full circle.
        mean_rgb: ``(3,)`` mean colour of the image.
    """
    matrix = brightness_matrix(brightness)
    matrix = compose(matrix, contrast_matrix(contrast, grey=brightness * float(LUMA @ mean_rgb)))
    matrix = compose(matrix, saturation_matrix(saturation))
    return compose(matrix, hue_matrix(hue))


def _affine(linear: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    return np.column_stack([linear, np.zeros(3) if shift is None else shift])
