"""Copy-paste of objects by their boxes: the data sets here have no masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import cv2
import numpy as np
import torch

from retina.boxes import box_area, pairwise_intersection
from retina.data.transforms.mixing import check_interval, resized
from retina.data.transforms.placing import targets_of
from retina.data.transforms.resize import scaled_pixels
from retina.data.transforms.scene import Mixing, Scene
from retina.ranges import Above0, AtLeast0, Between, Share, checked
from retina.structures import BoxTargets, Sample

_LEAST_SOURCE_SIDE = 4  # pixels: a patch of fewer shows nothing


@checked
@dataclass(frozen=True)
class CopyPaste(Mixing):
    """Objects of a second image are pasted onto the first, as rectangles or as the ellipses that fill their boxes.

    Pasted are objects that no other box of their image covers by more than ``max_overlap``: the patch would show
    something that nobody marked. What lies below is hidden: the box of a half hidden object shrinks to what is left,
    and where less than ``min_visible`` of its pixels, or less than ``min_side``, is left it becomes a crowd region.

    Source: Ghiasi et al. 2021, Simple Copy-Paste is a Strong Data Augmentation Method (with masks there; edges are
    not blended here either, which they found not to matter).
    """

    max_objects: Annotated[int, Between(1, 255)] = 3  # pasted onto an image, at least one
    scale: Sequence[Above0] = (0.5, 1.5)  # times the plain resize, drawn evenly on a log scale
    shape: Literal["box", "ellipse"] = "box"  # data sets have no masks here
    max_overlap: Share = 0.1
    min_visible: Share = 0.3
    min_side: AtLeast0 = 2.0  # pixels of the network's input
    p: Share = 0.3

    def __post_init__(self) -> None:
        check_interval("scale", self.scale)

    @property
    def max_zoom(self) -> float:  # type: ignore[override]
        return float(self.scale[1])

    def __call__(self, sample: Sample, scene: Scene) -> Sample:
        """Return ``sample`` after the plain resize, with objects of another image on top."""
        first, other = resized(sample, scene), scene.others.read()
        top = np.zeros(first.image.shape[:2], np.uint8)  # which patch is seen at a pixel, 0: none
        boxes, labels = [*first.targets.boxes.numpy()], first.targets.labels.tolist()
        layers = [0] * len(boxes)
        for index in self._chosen(other.targets, scene.rng):
            placed = self._paste(first.image, top, other, index, scene, layer=max(layers, default=0) + 1)
            if placed is not None:
                boxes.append(placed)
                labels.append(int(other.targets.labels[index]))
                layers.append(max(layers, default=0) + 1)
        seen = [_visible(box, top, layer) for box, layer in zip(boxes, layers, strict=True)]
        return replace(first, targets=self._targets(seen, labels, first.targets.crowd_boxes))

    def _targets(self, seen: list[tuple[np.ndarray, float]], labels: list[int], crowds: torch.Tensor) -> BoxTargets:
        """Return objects, and among the crowds those of which too little is seen; ``seen``: extents and shares."""
        extents = np.array([extent for extent, _ in seen]).reshape(-1, 4)
        shares = np.array([share for _, share in seen])
        sides = (extents[:, 2:] - extents[:, :2]).min(axis=1, initial=np.inf)
        objects = (shares >= self.min_visible) & (sides >= self.min_side)
        ignored = extents[~objects & (shares > 0)]
        return targets_of(extents[objects], np.array(labels)[objects], np.concatenate([crowds.numpy(), ignored]))

    def _chosen(self, targets: BoxTargets, rng: np.random.Generator) -> Iterator[int]:
        """Yield which objects of the other image are pasted."""
        boxes = targets.boxes
        overlaps = pairwise_intersection(boxes, torch.cat([boxes, targets.crowd_boxes]))
        overlaps.fill_diagonal_(0)
        covered = overlaps.numpy().max(axis=1, initial=0)
        sides = (boxes[:, 2:] - boxes[:, :2]).numpy().min(axis=1, initial=np.inf)
        alone = (covered <= self.max_overlap * box_area(boxes).numpy()) & (sides >= _LEAST_SOURCE_SIDE)
        count = int(rng.integers(1, self.max_objects + 1))
        yield from rng.permutation(np.flatnonzero(alone))[:count].tolist()

    def _paste(
        self, canvas: np.ndarray, top: np.ndarray, other: Sample, index: int, scene: Scene, *, layer: int
    ) -> np.ndarray | None:
        """Write an object of ``other`` onto ``canvas`` and its ``layer`` onto ``top``; return its box there.

        None where the object would be too small.
        """
        patch, box = _cut_out(other.image, other.targets.boxes[index].numpy())
        zoom, (draw_x, draw_y) = float(np.exp(scene.rng.uniform(*np.log(self.scale)))), scene.rng.random(2)
        (room_y, room_x), (patch_height, patch_width) = canvas.shape[:2], patch.shape[:2]
        scale = min(scene.input_scale(other.image) * zoom, room_y / patch_height, room_x / patch_width)
        height = min(room_y, max(1, round(patch_height * scale)))
        width = min(room_x, max(1, round(patch_width * scale)))
        inner = box * np.array([width / patch_width, height / patch_height] * 2)
        if (inner[2:] - inner[:2]).min() < max(self.min_side, 1):
            return None
        x, y = int(draw_x * (room_x - width + 1)), int(draw_y * (room_y - height + 1))
        covers = self._mask((height, width), inner)
        region = np.s_[y : y + height, x : x + width]
        # In place; numpy's copyto takes 60 times as long.
        cv2.copyTo(scaled_pixels(patch, (height, width)), covers.view(np.uint8), canvas[region])
        top[region][covers] = layer
        return inner + (x, y, x, y)

    def _mask(self, size: tuple[int, int], box: np.ndarray) -> np.ndarray:
        if self.shape == "box":
            return np.ones(size, dtype=bool)
        rows, columns = (np.arange(side) + 0.5 for side in size)
        # Half a pixel more, so that the ellipse reaches the edges of its box.
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 + 0.5
        return ((columns - center[0]) / half[0]) ** 2 + ((rows[:, None] - center[1]) / half[1]) ** 2 <= 1


def _cut_out(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole pixels of a box, and the box in them."""
    # A box that ends at a pixel's edge but for a rounding error does not take the next pixel.
    left, top = (max(0, int(np.floor(side + 1e-3))) for side in box[:2])
    right, bottom = (int(np.ceil(side - 1e-3)) for side in box[2:])
    patch = image[top:bottom, left:right]
    height, width = patch.shape[:2]
    return patch, (box.astype(float) - (left, top, left, top)).clip(0, (width, height, width, height))


def _visible(box: np.ndarray, top: np.ndarray, layer: int) -> tuple[np.ndarray, float]:
    """Return the extent and the share of what is seen of ``box``, which stands on ``layer``."""
    left, up = int(box[0]), int(box[1])
    seen = top[up : int(np.ceil(box[3])), left : int(np.ceil(box[2]))] <= layer
    if seen.all():
        return box, 1.0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return box, 0.0
    extent = np.array([left + columns[0], up + rows[0], left + columns[-1] + 1, up + rows[-1] + 1])
    # Edges that nothing hides stay where they were between two pixels.
    return np.concatenate([np.maximum(box[:2], extent[:2]), np.minimum(box[2:], extent[2:])]), float(seen.mean())
