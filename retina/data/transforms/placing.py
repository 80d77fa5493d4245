"""Where boxes end up when their image is scaled, moved and cut off, and what becomes of those that hardly show.

Nothing turns into a wrong object: a box follows its pixels, is cut where they are cut, and becomes a crowd region
(neither an object nor background) where too little of it is left to be called one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from retina.structures import BoxTargets

Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels
# The mean of ImageNet: nearly 0 after normalisation, as padding is. Source: torchvision's references, mean x 255.
FILL = (124, 116, 104)


@dataclass(frozen=True)
class Visibility:
    """How much of an object must be seen for it to stay an object."""

    min_visible: float = 0.25  # share of its box
    min_side: float = 2.0  # pixels of the network's input

    def is_object(self, visible: np.ndarray, whole: np.ndarray, unit: np.ndarray | float = 1.0) -> np.ndarray:
        """Return ``(n,)`` bool for visible parts ``(n, 4)`` of the boxes ``whole``, xyxy in ``unit`` pixels."""
        large_enough = ((visible[:, 2:] - visible[:, :2]) * unit).min(axis=1, initial=np.inf) >= self.min_side
        return (areas(visible) >= self.min_visible * areas(whole)) & large_enough


@dataclass(frozen=True)
class Placement:
    """A window of an image, shown in a place of another; both in whole pixels, so that boxes follow exactly."""

    window: Rectangle
    place: Rectangle

    def corners(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``(n, 4)`` float64 boxes after the move, not cut."""
        window, place = np.array(self.window, dtype=float), np.array(self.place, dtype=float)
        scale = (place[2:] - place[:2]) / (window[2:] - window[:2])
        moved = (boxes.reshape(-1, 2, 2).astype(float) - window[:2]) * scale + place[:2]
        return moved.reshape(-1, 4)


def place_targets(targets: BoxTargets, placement: Placement, rule: Visibility) -> BoxTargets:
    """Return what of ``targets`` is seen in the place; objects of which too little is seen become crowds."""
    whole = placement.corners(targets.boxes.numpy())
    edges, labels = (placement.place[:2] * 2, placement.place[2:] * 2), targets.labels.numpy()
    visible = whole.clip(*edges)
    seen = areas(visible) > 0
    objects = seen & rule.is_object(visible, whole)
    crowds = placement.corners(targets.crowd_boxes.numpy()).clip(*edges)
    crowds = np.concatenate([crowds[areas(crowds) > 0], visible[seen & ~objects]])
    return targets_of(visible[objects], labels[objects], crowds)


def join_targets(parts: Iterable[BoxTargets]) -> BoxTargets:
    """Return the objects and the crowds of all ``parts``, in order."""
    parts = list(parts)
    return BoxTargets(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.crowd_boxes for part in parts]),
    )


def targets_of(boxes: np.ndarray, labels: np.ndarray, crowd_boxes: np.ndarray) -> BoxTargets:
    """Return the ground truth made of arrays."""
    return BoxTargets(
        torch.from_numpy(np.asarray(boxes, dtype=np.float32).reshape(-1, 4)),
        torch.from_numpy(np.asarray(labels, dtype=np.int64)),
        torch.from_numpy(np.asarray(crowd_boxes, dtype=np.float32).reshape(-1, 4)),
    )


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` areas of ``(n, 4)`` xyxy boxes; 0 for those of negative width or height."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
