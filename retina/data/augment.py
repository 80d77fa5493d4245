"""Augmentation under albumentations' interface, with randomness that is a function of seed, epoch and image.

Ours are three: one resize by the field's rule, a zoom that needs no second resize, colour as one matrix. Any other
transform of albumentations can stand beside them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from retina.data.color import color_matrix
from retina.data.zoom import flatten, max_zoom
from retina.errors import ConfigError
from retina.structures import BoxTargets, Sample

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402

# A row of boxes inside albumentations: x1, y1, x2, y2 in 0..1 of the image's sides, then these two.
LABEL, CROWD = 4, 5
# Smaller sides are what is left of a box that a transform moved out of the image.
MIN_SIDE = 0.1  # px


class Augment:
    """Apply transforms and then one resize to a sample.

    The transforms share generators seeded by ``(seed, epoch, index)``. (``Compose``'s own seeding gives each
    transform a generator of the same seed, so that two transforms of p=0.5 always fire together.)
    """

    def __init__(
        self,
        transforms: Sequence[Any],
        *,
        short_side: int,
        long_side: int,
        seed: int,
        reduced_decoding: bool = False,
    ) -> None:
        """Args: ``transforms``, albumentations' or ours, in order, empty for evaluation; sides as in :class:`Resize`.

        Raises:
            ConfigError: something in ``transforms`` is no transform.
        """
        for position, transform in enumerate(transforms):
            if not isinstance(transform, A.BasicTransform | A.BaseCompose):
                raise ConfigError(
                    f"augment.transforms[{position}] is no transform of albumentations but {transform!r}",
                    fix="give transforms with _target_: albumentations.<name> or retina.data.augment.<name>",
                )
        for transform in flatten(transforms):
            if isinstance(transform, ScaleCrop):
                transform.short_side, transform.long_side = short_side, long_side
        self.seed, self.short_side, self.long_side = seed, short_side, long_side
        self.max_zoom = max_zoom(transforms) if reduced_decoding else float("inf")
        self.pipeline = A.Compose(
            [*transforms, Resize(short_side, long_side)],
            bbox_params=A.BboxParams("pascal_voc", min_width=MIN_SIDE, min_height=MIN_SIDE, clip=True),
        )

    def shrink(self, height: int, width: int) -> int:
        """Return how many times smaller (1, 2, 4, 8) a stored image may be decoded so that nothing has to be enlarged.

        1 where a transform might count pixels of the stored image, as a crop of 512 x 512 does.
        """
        scale = _resize_scale(height, width, self.short_side, self.long_side) * self.max_zoom
        return next((denominator for denominator in (8, 4, 2) if scale * denominator <= 1), 1)

    def __call__(self, sample: Sample, *, epoch: int, index: int) -> Sample:
        """Return ``sample`` as image ``index`` looks in ``epoch``; boxes without visible area are dropped."""
        generator = np.random.default_rng([self.seed, epoch, index])
        self.pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        result = self.pipeline(image=sample.image, bboxes=_to_rows(sample.targets))
        image = result["image"]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ConfigError(
                f"augment.transforms made an image of {image.dtype} with shape {image.shape} "
                f"from image {sample.image_id}",
                why="images stay (H, W, 3) uint8 until the device, where the model normalises them",
                fix="take transforms such as Normalize, ToFloat or ToTensorV2 out of augment.transforms",
            )
        return Sample(image, _from_rows(result["bboxes"]), sample.image_id, sample.original_size)


class Resize(A.DualTransform):
    """Resize by ``min(short_side / short, long_side / long)``, bilinear without antialiasing, sizes rounded."""

    def __init__(self, short_side: int, long_side: int) -> None:
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


class ScaleCrop(A.DualTransform):
    """Zoom by a random factor and resize, in one step: a crop above 1, a smaller image on a filled canvas below 1.

    The result has the size of the plain resize, so the network sees one canvas. An object of which less than
    ``min_visible`` is left in the crop becomes a crowd region: it is neither an object to find nor background.
    """

    short_side = long_side = 0  # set by Augment, which knows the network's input size

    def __init__(
        self,
        scale: Sequence[float] = (0.6, 1.6),
        min_visible: float = 0.3,
        fill: Sequence[int] = (124, 116, 104),  # ImageNet's mean: nearly 0 after normalisation, as padding is
        p: float = 0.5,
    ) -> None:
        """Args: ``scale`` least and greatest factor, drawn evenly on a log scale; ``fill`` RGB beside the image."""
        super().__init__(p=p)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be two numbers, 0 < least <= greatest, got {list(scale)}")
        if not 0 <= min_visible <= 1:
            raise ValueError(f"min_visible must lie in [0, 1], got {min_visible}")
        self.scale, self.min_visible, self.fill_color = tuple(scale), min_visible, tuple(fill)
        self.max_zoom = float(scale[1])  # read by retina.data.zoom

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the window (x, y, width, height) of the image and where on the canvas it goes."""
        if not self.short_side:
            raise ValueError("ScaleCrop does not know the size to resize to; it works inside of Augment only")
        height, width = params["shape"][:2]
        canvas = resized_size(height, width, short_side=self.short_side, long_side=self.long_side)
        zoom = float(np.exp(self.py_random.uniform(*np.log(self.scale))))
        window = self._draw_rectangle(height, width, 1 / max(zoom, 1.0))
        place = self._draw_rectangle(*canvas, min(zoom, 1.0))
        return {"canvas": canvas, "window": window, "place": place}

    def _draw_rectangle(self, height: int, width: int, share: float) -> tuple[int, int, int, int]:
        inner_height, inner_width = max(1, round(height * share)), max(1, round(width * share))
        x = self.py_random.randint(0, width - inner_width)
        y = self.py_random.randint(0, height - inner_height)
        return x, y, inner_width, inner_height

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        """Return the window, resized, on the canvas."""
        (height, width), (x, y, window_width, window_height) = params["canvas"], params["window"]
        left, top, place_width, place_height = params["place"]
        content = img[y : y + window_height, x : x + window_width]
        content = cv2.resize(content, (place_width, place_height), interpolation=cv2.INTER_LINEAR)
        below, beside = height - top - place_height, width - left - place_width
        return cv2.copyMakeBorder(content, top, below, left, beside, cv2.BORDER_CONSTANT, value=self.fill_color)

    def apply_to_bboxes(self, bboxes: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        """Return the boxes on the canvas; those that are cut off too much are marked as crowds."""
        if len(bboxes) == 0:  # without the further columns, then
            return bboxes
        height, width = params["shape"][:2]
        canvas = np.array([params["canvas"][1], params["canvas"][0]])
        window, place = np.array(params["window"]), np.array(params["place"])
        moved = bboxes.copy()
        corners = bboxes[:, :4].reshape(-1, 2, 2) * (width, height)
        corners = ((corners - window[:2]) * (place[2:] / window[2:]) + place[:2]) / canvas
        visible = corners.clip(0, 1)
        area, visible_area = ((c[:, 1] - c[:, 0]).prod(axis=1) for c in (corners, visible))
        moved[:, :4] = visible.reshape(-1, 4)
        moved[visible_area < self.min_visible * area, CROWD] = 1
        return moved[visible_area > 0]


class ColorMatrix(A.ImageOnlyTransform):
    """Change brightness, contrast, saturation and hue by one 3x4 matrix on uint8: one pass, one rounding.

    A number r means a factor from ``[1 - r, 1 + r]``; a pair means a factor from that interval. ``hue`` is in turns of
    the colour circle: a number h means ``[-h, h]``.
    """

    max_zoom = 1.0  # read by retina.data.zoom

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.2,
        contrast: float | Sequence[float] = 0.2,
        saturation: float | Sequence[float] = 0.2,
        hue: float | Sequence[float] = 0.02,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.brightness = _interval("brightness", brightness, around=1, least=0)
        self.contrast = _interval("contrast", contrast, around=1, least=0)
        self.saturation = _interval("saturation", saturation, around=1, least=0)
        self.hue = _interval("hue", hue, around=0, least=-0.5)

    def get_params(self) -> dict[str, Any]:
        """Draw the four factors."""
        names = ("brightness", "contrast", "saturation", "hue")
        return {"factors": {name: self.py_random.uniform(*getattr(self, name)) for name in names}}

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        """Return the recoloured pixels, rounded and clipped to 0..255 once."""
        matrix = color_matrix(**params["factors"], mean_rgb=np.array(cv2.mean(img)[:3]))
        return cv2.transform(img, matrix.astype(np.float32))


def resized_size(height: int, width: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) after the resize; the result of the rule is a fixed point of the rule."""
    scale = _resize_scale(height, width, short_side, long_side)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def _resize_scale(height: int, width: int, short_side: int, long_side: int) -> float:
    return min(short_side / min(height, width), long_side / max(height, width))


def _interval(name: str, value: float | Sequence[float], *, around: float, least: float) -> tuple[float, float]:
    if isinstance(value, int | float):
        interval = (max(least, around - value), around + value)
    else:
        interval = (value[0], value[-1])
    if not least <= interval[0] <= interval[1] < float("inf"):
        raise ValueError(f"{name} must be a number or a pair, ascending and at least {least}, got {value}")
    return interval


def _to_rows(targets: BoxTargets) -> np.ndarray:
    num_boxes = len(targets.boxes)
    rows = np.zeros((num_boxes + len(targets.crowd_boxes), 6), dtype=np.float64)
    rows[:num_boxes, :4] = targets.boxes.numpy()
    rows[:num_boxes, LABEL] = targets.labels.numpy()
    rows[num_boxes:, :4] = targets.crowd_boxes.numpy()
    rows[num_boxes:, CROWD] = 1
    return rows


def _from_rows(rows: np.ndarray) -> BoxTargets:
    if len(rows) == 0:  # albumentations drops the further columns, too
        return BoxTargets.empty()
    rows = np.asarray(rows)
    boxes, crowd = rows[:, :4].astype(np.float32), rows[:, CROWD] > 0
    labels = rows[~crowd, LABEL].astype(np.int64)
    return BoxTargets(torch.from_numpy(boxes[~crowd]), torch.from_numpy(labels), torch.from_numpy(boxes[crowd]))
