"""The field's resize, and pixels of any size made from others."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402


class Resize(A.DualTransform):
    """Resize by ``min(short_side / short, long_side / long)``, bilinear without antialiasing, sizes rounded.

    Augment ends with it. Inside of a list of transforms it marks where the input's size is reached: what comes after
    sees and changes pixels of the network's input, as noise or JPEG compression should.
    """

    max_zoom = 1.0  # read by retina.data.transforms.zoom

    def __init__(self, short_side: int = 0, long_side: int = 0) -> None:
        """Args: the sides; Augment, which knows the network's input size, sets them anew for every image."""
        super().__init__(p=1.0)
        self.short_side, self.long_side = short_side, long_side

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        """Return the resized pixels; the image itself where it has the size already."""
        height, width = resized_size(*img.shape[:2], short_side=self.short_side, long_side=self.long_side)
        if img.shape[:2] == (height, width):
            return img
        return cv2.resize(img, (width, height), interpolation=cv2.INTER_LINEAR)

    def apply_to_bboxes(self, bboxes: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        """Return the boxes unchanged: they are in fractions of the image's sides."""
        return bboxes


def resized_size(height: int, width: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) after the resize; the result of the rule is a fixed point of the rule."""
    scale = resize_scale(height, width, short_side=short_side, long_side=long_side)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_scale(height: int, width: int, *, short_side: int, long_side: int) -> float:
    """Return the factor of the resize."""
    return min(short_side / min(height, width), long_side / max(height, width))


def scaled_pixels(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return ``image`` with ``size`` (height, width): bilinear, or the mean of areas where it gets far smaller.

    Below one half bilinear skips pixels, and a small object is there or not by chance.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    far_smaller = 2 * size[0] < height and 2 * size[1] < width
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if far_smaller else cv2.INTER_LINEAR)
