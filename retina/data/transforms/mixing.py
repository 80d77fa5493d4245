"""Augmentations that need further images: mosaic and mixup.

They stand before all transforms of one image, each makes one image of the network's input size, and every number they
draw comes from the key of the image that they start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from retina.data.transforms.placing import FILL, Placement, Rectangle, Visibility, join_targets, place_targets
from retina.data.transforms.resize import scaled_pixels
from retina.data.transforms.scene import Mixing, Scene
from retina.ranges import Above0, AtLeast0, Share, checked
from retina.structures import BoxTargets, Sample

# For whole images: nothing is cut off, and small objects stay what the plain resize makes of them.
_WHOLE = Visibility(0, 0)


@checked
@dataclass(frozen=True)
class Mosaic(Mixing):
    """Four images around a random point, each scaled by the plain resize times a random factor.

    An image larger than its quarter shows a random part of it; beside a smaller one stands ``fill``.
    Source: Bochkovskiy et al. 2020, YOLOv4, section 3.3 (there the four are scaled alike and cut together).
    """

    scale: Sequence[Above0] = (0.4, 1.0)  # drawn evenly on a log scale
    center: Sequence[Share] = (0.3, 0.7)  # of the sides, where the four meet
    min_visible: Share = 0.25  # share of an object's box; of less, it becomes a crowd region
    min_side: AtLeast0 = 2.0  # pixels of the network's input; the same
    fill: Sequence[int] = FILL
    p: Share = 0.5

    def __post_init__(self) -> None:
        check_interval("scale", self.scale)
        check_interval("center", self.center)

    @property
    def max_zoom(self) -> float:  # type: ignore[override]
        return float(self.scale[1])

    def __call__(self, sample: Sample, scene: Scene) -> Sample:
        """Return the four on a canvas of the size that ``sample`` alone would have."""
        height, width = scene.input_size(sample.image)
        canvas = np.empty((height, width, 3), np.uint8)
        cv2.rectangle(canvas, (0, 0), (width, height), tuple(self.fill), -1)  # numpy takes 30 times as long
        rule = Visibility(self.min_visible, self.min_side)
        parts = []
        for number, quarter in enumerate(self._quarters(height, width, scene.rng)):
            image = scene.others.read() if number else sample
            zoom = float(np.exp(scene.rng.uniform(*np.log(self.scale))))
            placement = self._placement(image.image, quarter, zoom, scene)
            if placement is not None:
                (left, top, right, bottom), (x1, y1, x2, y2) = placement.window, placement.place
                canvas[y1:y2, x1:x2] = scaled_pixels(image.image[top:bottom, left:right], (y2 - y1, x2 - x1))
                parts.append(place_targets(image.targets, placement, rule))
        return replace(sample, image=canvas, targets=join_targets(parts))

    def _quarters(self, height: int, width: int, rng: np.random.Generator) -> list[Rectangle]:
        x, y = (round(side * rng.uniform(self.center[0], self.center[1])) for side in (width, height))
        return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]

    def _placement(self, image: np.ndarray, quarter: Rectangle, zoom: float, scene: Scene) -> Placement | None:
        """Return which part of ``image`` goes where, or None where the quarter has no pixel."""
        x1, y1, x2, y2 = quarter
        scale, spans = scene.input_scale(image) * zoom, []
        draws = scene.rng.random(2)  # drawn in any case, so that the next image's draws do not depend on this one
        for draw, side, room in zip(draws, image.shape[1::-1], (x2 - x1, y2 - y1), strict=True):
            scaled = max(1, round(side * scale))
            shown = min(scaled, room)
            window = min(side, max(1, round(side * shown / scaled)))
            spans.append((int(draw * (side - window + 1)), window, shown))
        (left, window_width, shown_width), (top, window_height, shown_height) = spans
        if not shown_width or not shown_height:
            return None
        # A smaller image touches the point where the four meet.
        x = x1 if x1 > 0 else x2 - shown_width
        y = y1 if y1 > 0 else y2 - shown_height
        return Placement(
            (left, top, left + window_width, top + window_height), (x, y, x + shown_width, y + shown_height)
        )


@checked
@dataclass(frozen=True)
class MixUp(Mixing):
    """A second image shines through a part of the first one: both are there, and the objects of both.

    The first one keeps at least half of the weight; with ``w`` for the second, objects of the second are objects
    from ``w >= min_weight`` on, else crowd regions: they are too faint to be asked for.
    Source: Zhang et al. 2019, Bag of Freebies for Training Object Detection Neural Networks, section 3.1.
    """

    alpha: Above0 = 8.0  # of the Beta(alpha, alpha) that the weight is drawn from; large: near one half
    min_weight: Share = 0.25
    p: Share = 0.15

    def __call__(self, sample: Sample, scene: Scene) -> Sample:
        """Return both on a canvas of the size that ``sample`` alone would have, nothing cut off."""
        rng, other = scene.rng, scene.others.read()
        draw, position = float(rng.beta(self.alpha, self.alpha)), rng.random(2)
        weight = min(draw, 1 - draw)  # of the second image
        first = resized(sample, scene)
        height, width = first.image.shape[:2]
        placement = _fitted(other.image, (height, width), scene.input_scale(other.image), position)
        x1, y1, x2, y2 = placement.place
        second = scaled_pixels(other.image, (y2 - y1, x2 - x1))
        first.image[y1:y2, x1:x2] = cv2.addWeighted(first.image[y1:y2, x1:x2], 1 - weight, second, weight, 0)
        added = place_targets(other.targets, placement, _WHOLE)
        if weight < self.min_weight:
            added = as_crowds(added)
        return replace(first, targets=join_targets([first.targets, added]))


def resized(sample: Sample, scene: Scene) -> Sample:
    """Return ``sample`` after the plain resize, with pixels of its own that may be painted on."""
    height, width = sample.image.shape[:2]
    new_height, new_width = scene.input_size(sample.image)
    if (height, width) == (new_height, new_width):
        return replace(sample, image=sample.image.copy())
    image = cv2.resize(sample.image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    placement = Placement((0, 0, width, height), (0, 0, new_width, new_height))
    return replace(sample, image=image, targets=place_targets(sample.targets, placement, _WHOLE))


def as_crowds(targets: BoxTargets) -> BoxTargets:
    """Return ``targets`` with every object as a crowd region."""
    return replace(BoxTargets.empty(), crowd_boxes=torch.cat([targets.boxes, targets.crowd_boxes]))


def check_interval(name: str, interval: Sequence[float]) -> None:
    """Raise ValueError where ``interval`` is not an ascending pair."""
    if len(interval) != 2 or not interval[0] <= interval[1]:
        raise ValueError(f"{name} must be two numbers, least <= greatest, got {list(interval)}")


def _fitted(image: np.ndarray, canvas: tuple[int, int], scale: float, position: np.ndarray) -> Placement:
    """Return where the whole ``image`` goes, smaller than ``scale`` says where it would not fit the canvas."""
    height, width = image.shape[:2]
    scale = min(scale, canvas[0] / height, canvas[1] / width)
    new_height = min(canvas[0], max(1, round(height * scale)))
    new_width = min(canvas[1], max(1, round(width * scale)))
    x, y = int(position[0] * (canvas[1] - new_width + 1)), int(position[1] * (canvas[0] - new_height + 1))
    return Placement((0, 0, width, height), (x, y, x + new_width, y + new_height))
