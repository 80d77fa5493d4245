"""How many pixels of the stored image a list of transforms wants, known before an image is decoded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402

from retina.data.transforms.resize import Resize  # noqa: E402

# What does the same to an image of any size: no parameter in pixels, no zoom. A kind that is derived from one of these
# may do more, so it is not of them.
SIZELESS = frozenset(
    {
        A.HorizontalFlip, A.VerticalFlip, A.Transpose, A.RandomRotate90, A.D4, A.NoOp,
        A.RandomBrightnessContrast, A.HueSaturationValue, A.ColorJitter, A.RandomGamma, A.RGBShift,
        A.ToGray, A.ChannelShuffle, A.InvertImg,
    }
)  # fmt: skip


def max_zoom(transforms: Sequence[Any]) -> float:
    """Return how much larger than by the plain resize ``transforms`` can show a pixel; infinite where not known.

    A transform that is not listed says it with an attribute ``max_zoom``, as ours do. What stands after a
    :class:`Resize` sees pixels of the network's input only.
    """
    resizes = [position for position, transform in enumerate(transforms) if isinstance(transform, Resize)]
    transforms = transforms[: min(resizes, default=len(transforms))]
    leaves = [transform for transform in flatten(transforms) if not isinstance(transform, A.BaseCompose)]
    return math.prod(_zoom(transform) for transform in leaves)


def flatten(transforms: Sequence[Any]) -> Iterator[Any]:
    """Yield ``transforms`` and everything inside of them."""
    for transform in transforms:
        yield transform
        if isinstance(transform, A.BaseCompose):
            yield from flatten(transform.transforms)


def _zoom(transform: Any) -> float:
    unknown = 1.0 if type(transform) in SIZELESS else math.inf
    return max(1.0, getattr(transform, "max_zoom", unknown))
