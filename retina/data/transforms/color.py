"""Changes of colour as affine maps of RGB, so that several make one matrix.

Every map is a ``(3, 4)`` float64 matrix that takes ``(r, g, b, 1)`` in 0..255 to the new ``(r, g, b)``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import numpy as np

from retina.ranges import AtLeast, AtLeast0, Share, checked

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402

# Weights of red, green and blue in a grey value. Source: ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114])
# RGB to YIQ: Y is LUMA, I and Q carry colour and are 0 for grey. Source: NTSC 1953, as in `colorsys`' documentation.
RGB_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

Turns = Annotated[float, AtLeast(-0.5)]


@checked
class ColorMatrix(A.ImageOnlyTransform):
    """Change brightness, contrast, saturation and hue by one 3x4 matrix on uint8: one pass, one rounding.

    A number r means a factor from ``[1 - r, 1 + r]``; a pair means a factor from that interval. ``hue`` is in turns of
    the colour circle: a number h means ``[-h, h]``.
    """

    max_zoom = 1.0  # read by max_zoom

    def __init__(
        self,
        brightness: AtLeast0 | Sequence[AtLeast0] = 0.2,
        contrast: AtLeast0 | Sequence[AtLeast0] = 0.2,
        saturation: AtLeast0 | Sequence[AtLeast0] = 0.2,
        hue: Turns | Sequence[Turns] = 0.02,
        p: Share = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.brightness = _interval("brightness", brightness, around=1, least=0)
        self.contrast = _interval("contrast", contrast, around=1, least=0)
        self.saturation = _interval("saturation", saturation, around=1, least=0)
        self.hue = _interval("hue", hue, around=0, least=-0.5)

    def get_params(self) -> dict[str, Any]:
        names = ("brightness", "contrast", "saturation", "hue")
        return {"factors": {name: self.py_random.uniform(*getattr(self, name)) for name in names}}

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        matrix = color_matrix(**params["factors"], mean_rgb=np.array(cv2.mean(img)[:3]))
        return cv2.transform(img, matrix.astype(np.float32))


def _interval(name: str, value: float | Sequence[float], *, around: float, least: float) -> tuple[float, float]:
    number = isinstance(value, int | float)
    low, high = (max(least, around - value), around + value) if number else (value[0], value[-1])  # type: ignore
    if not low <= high < float("inf"):
        raise ValueError(f"{name} must be a number or a pair, ascending and at least {least}, got {value}")
    return low, high


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
    """Return brightness, contrast, saturation (factors) and hue (turns), in this order, as one map.

    Contrast is around the grey of the image's mean colour, ``(3,)``, as in PIL and torchvision.
    """
    matrix = brightness_matrix(brightness)
    matrix = compose(matrix, contrast_matrix(contrast, grey=brightness * float(LUMA @ mean_rgb)))
    matrix = compose(matrix, saturation_matrix(saturation))
    return compose(matrix, hue_matrix(hue))


def _affine(linear: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    return np.column_stack([linear, np.zeros(3) if shift is None else shift])
