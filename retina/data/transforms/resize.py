"""The field's resize, pixels of any size made from others, and how many of the stored ones transforms want."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402

# What does the same to an image of any size: no parameter in pixels, no zoom. A kind that is derived from one of these
# may do more, so it is not of them.
SIZELESS = {
    A.HorizontalFlip, A.VerticalFlip, A.Transpose, A.RandomRotate90, A.D4, A.NoOp,
    A.RandomBrightnessContrast, A.HueSaturationValue, A.ColorJitter, A.RandomGamma, A.RGBShift,
    A.ToGray, A.ChannelShuffle, A.InvertImg,
}  # fmt: skip


# A row of boxes inside albumentations: x1, y1, x2, y2 in 0..1 of the image's sides, then these two.
LABEL, CROWD = 4, 5


class InputSized(A.DualTransform):
    """What makes images of the network's input size, which Augment tells it anew for every image."""

    short_side = long_side = 0


class Resize(InputSized):
    """Resize by ``min(short_side / short, long_side / long)``, bilinear without antialiasing, sizes rounded.

    Augment ends with it. Inside of a list of transforms it marks where the input's size is reached: what comes after
    sees and changes pixels of the network's input, as noise or JPEG compression should.
    """

    max_zoom = 1.0  # read by max_zoom

    def __init__(self, short_side: int = 0, long_side: int = 0) -> None:
        super().__init__(p=1.0)
        self.short_side, self.long_side = short_side, long_side

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        height, width = resized_size(*img.shape[:2], short_side=self.short_side, long_side=self.long_side)
        if img.shape[:2] == (height, width):
            return img
        return cv2.resize(img, (width, height), interpolation=cv2.INTER_LINEAR)

    def apply_to_bboxes(self, bboxes: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        return bboxes  # they are in fractions of the image's sides


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


def max_zoom(transforms: Sequence[Any]) -> float:
    """Return how much larger than by the plain resize ``transforms`` can show a pixel; infinite where not known.

    A transform that is not listed says it with an attribute ``max_zoom``, as ours do. What stands after a
    :class:`Resize` sees pixels of the network's input only.
    """
    resizes = [position for position, transform in enumerate(transforms) if isinstance(transform, Resize)]
    transforms = transforms[: min(resizes, default=len(transforms))]
    leaves = [transform for transform in flatten(transforms) if not isinstance(transform, A.BaseCompose)]
    unknown = (1.0 if type(transform) in SIZELESS else math.inf for transform in leaves)
    return math.prod(max(1.0, getattr(leaf, "max_zoom", zoom)) for leaf, zoom in zip(leaves, unknown, strict=True))


def flatten(transforms: Sequence[Any]) -> Iterator[Any]:
    """Yield ``transforms`` and everything inside of them."""
    for transform in transforms:
        yield transform
        if isinstance(transform, A.BaseCompose):
            yield from flatten(transform.transforms)
