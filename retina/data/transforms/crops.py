"""Zooms and crops of one image, as transforms of albumentations."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from retina.data.transforms.mixing import check_interval
from retina.data.transforms.placing import FILL, Visibility, areas
from retina.data.transforms.resize import CROWD, InputSized, resized_size, scaled_pixels
from retina.ranges import Above0, AtLeast0, Share, ShareAbove0, checked

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402


@checked
class ScaleCrop(InputSized):
    """Zoom by a random factor and resize, in one step: a crop above 1, a smaller image on a filled canvas below 1.

    The result has the size of the plain resize, so the network sees one canvas. An object of which less than
    ``min_visible`` is left in the crop becomes a crowd region: it is neither an object to find nor background.
    """

    min_side = 0.0  # pixels of the result; thinner objects become crowd regions

    def __init__(
        self, scale: Sequence[Above0] = (0.6, 1.6), min_visible: Share = 0.3, fill: Sequence[int] = FILL, p: Share = 0.5
    ) -> None:
        """Args: ``scale`` least and greatest factor, drawn evenly on a log scale; ``fill`` RGB beside the image."""
        super().__init__(p=p)
        check_interval("scale", scale)
        self.scale, self.min_visible, self.fill_color = tuple(scale), min_visible, tuple(fill)
        self.max_zoom = float(scale[1])  # read by max_zoom

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        # The window (x, y, width, height) of the image, and where on the canvas it goes.
        if not self.short_side:
            raise ValueError(
                f"{type(self).__name__} does not know the size to resize to; it works inside of Augment only"
            )
        height, width = params["shape"][:2]
        canvas = resized_size(height, width, short_side=self.short_side, long_side=self.long_side)
        zoom = self.draw_zoom()
        window = self._draw_rectangle(height, width, 1 / max(zoom, 1.0))
        place = self._draw_rectangle(*canvas, min(zoom, 1.0))
        return {"canvas": canvas, "window": window, "place": place}

    def draw_zoom(self) -> float:
        """Return a factor out of ``scale``."""
        return float(np.exp(self.py_random.uniform(*np.log(self.scale))))

    def _draw_rectangle(self, height: int, width: int, share: float) -> tuple[int, int, int, int]:
        inner_height, inner_width = max(1, round(height * share)), max(1, round(width * share))
        x = self.py_random.randint(0, width - inner_width)
        y = self.py_random.randint(0, height - inner_height)
        return x, y, inner_width, inner_height

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        (height, width), (x, y, window_width, window_height) = params["canvas"], params["window"]
        left, top, place_width, place_height = params["place"]
        content = self.resize(img[y : y + window_height, x : x + window_width], (place_height, place_width))
        below, beside = height - top - place_height, width - left - place_width
        return cv2.copyMakeBorder(content, top, below, left, beside, cv2.BORDER_CONSTANT, value=self.fill_color)

    def resize(self, content: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return ``content`` with ``size`` (height, width), bilinear as the plain resize."""
        return cv2.resize(content, size[::-1], interpolation=cv2.INTER_LINEAR)

    def apply_to_bboxes(self, bboxes: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        if len(bboxes) == 0:  # without the further columns, then
            return bboxes
        height, width = params["shape"][:2]
        canvas = np.array([params["canvas"][1], params["canvas"][0]])
        window, place = np.array(params["window"]), np.array(params["place"])
        corners = bboxes[:, :4].reshape(-1, 2, 2) * (width, height)
        corners = ((corners - window[:2]) * (place[2:] / window[2:]) + place[:2]) / canvas
        return _seen(bboxes, corners.reshape(-1, 4), Visibility(self.min_visible, self.min_side), canvas)


@checked
class LargeScaleJitter(ScaleCrop):
    """Zoom by a factor of a wide interval, drawn evenly: most images get smaller, with their objects.

    An object of which less than ``min_visible``, or less than ``min_side`` pixels of the network's input, is left
    becomes a crowd region.

    Source: Ghiasi et al. 2021, Simple Copy-Paste is a Strong Data Augmentation Method, section 3 (the smaller image
    stands anywhere on the canvas here, not always at its corner).
    """

    def __init__(
        self,
        scale: Sequence[Above0] = (0.1, 2.0),
        min_visible: Share = 0.25,
        min_side: AtLeast0 = 2.0,
        fill: Sequence[int] = FILL,
        p: Share = 0.5,
    ) -> None:
        """Args: as those of :class:`ScaleCrop`; ``min_side`` in pixels of the network's input."""
        super().__init__(scale, min_visible, fill, p)
        self.min_side = min_side

    def draw_zoom(self) -> float:
        """Return a factor out of ``scale``."""
        return self.py_random.uniform(*self.scale)

    def resize(self, content: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return ``content`` with ``size`` (height, width); a mean of areas where it gets far smaller."""
        return scaled_pixels(content, size)


@checked
class CenterSafeCrop(A.DualTransform):
    """Crop to a random window that holds the centre of every object, at least ``min_side_share`` of each side.

    An object of which less than ``min_visible`` is left in the window becomes a crowd region.
    """

    targets_as_params = ["bboxes"]  # the window depends on the boxes

    def __init__(self, min_side_share: ShareAbove0 = 0.5, min_visible: Share = 0.3, p: Share = 0.5) -> None:
        super().__init__(p=p)
        self.min_side_share, self.rule = min_side_share, Visibility(min_visible, 0)
        self.max_zoom = 1 / min_side_share  # read by max_zoom

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        rows = np.asarray(data["bboxes"], dtype=float)
        boxes = rows[rows[:, CROWD] == 0, :4] if len(rows) else np.zeros((0, 4))
        spans = []
        for axis, side in enumerate((width, height)):
            centers = (boxes[:, axis] + boxes[:, axis + 2]) / 2 * side
            spans.append(self._draw_span(side, centers))
        (x1, x2), (y1, y2) = spans
        return {"window": (x1, y1, x2, y2)}

    def _draw_span(self, side: int, centers: np.ndarray) -> tuple[int, int]:
        """Draw first and last pixel (excluded) of a span of ``side`` that holds ``centers``."""
        length = self.py_random.randint(math.ceil(side * self.min_side_share), side)
        # A pixel around each centre, so that none lies on the edge.
        low = max(0, math.floor(centers.min()) - 1) if len(centers) else side
        high = min(side, math.ceil(centers.max()) + 1) if len(centers) else 0
        length = max(length, high - low)
        start = self.py_random.randint(max(0, high - length), min(low, side - length))
        return start, start + length

    def apply(self, img: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        x1, y1, x2, y2 = params["window"]
        return np.ascontiguousarray(img[y1:y2, x1:x2])

    def apply_to_bboxes(self, bboxes: np.ndarray, *_: Any, **params: Any) -> np.ndarray:
        if len(bboxes) == 0:
            return bboxes
        height, width = params["shape"][:2]
        x1, y1, x2, y2 = params["window"]
        sides = np.array([x2 - x1, y2 - y1])
        corners = (bboxes[:, :4] * (width, height, width, height) - (x1, y1, x1, y1)) / np.tile(sides, 2)
        return _seen(bboxes, corners, self.rule, sides)


def _seen(bboxes: np.ndarray, corners: np.ndarray, rule: Visibility, canvas: np.ndarray) -> np.ndarray:
    """Return the rows of which something is seen, with ``corners`` (shares of ``canvas``, width and height) cut.

    Objects of which too little is left are marked as crowds.
    """
    visible, moved = corners.clip(0, 1), bboxes.copy()
    moved[:, :4] = visible
    moved[~rule.is_object(visible, corners, canvas), CROWD] = 1
    return moved[areas(visible) > 0]
