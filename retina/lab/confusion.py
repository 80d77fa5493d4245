"""Which class is taken for which, what kind of mistake each detection is, and the score that serves best."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch

from retina.boxes import box_area, pairwise_intersection, pairwise_iou
from retina.structures import BoxTargets, Detections

MATCH_IOU = 0.5
NEAR_IOU = 0.1  # below, a detection has nothing to do with the object. Source: Bolya et al. 2020, TIDE, section 2.2
# What becomes of detections and objects. Source: Bolya et al. 2020, TIDE, section 2.2, which weighs them by AP.
KINDS = ("correct", "wrong class", "duplicate", "poorly placed", "wrong class, poorly placed", "background", "missed")
FREE = -1


@dataclass
class Confusion:
    """Counts over images; add one after the other.

    A detection takes the object of its own class that it overlaps most, strong ones first, as in COCO's evaluation:
    an object is never given to another class while its own has found it. What is left over may then meet objects of
    other classes that are left over. Detections of which half or more lies in a crowd region count neither way.
    """

    num_classes: int
    score_threshold: float = 0.3
    # (K + 1, K + 1) true class by predicted class; the last row is the background, the last column "missed".
    matrix: np.ndarray = field(init=False)
    kinds: Counter[str] = field(default_factory=Counter)
    in_crowds: int = 0  # detections above the threshold
    num_objects: int = 0
    _scores: list[np.ndarray] = field(default_factory=list)  # of all detections that count, weak ones too
    _correct: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.num_classes + 1, self.num_classes + 1), dtype=np.int64)

    def add(self, found: Detections, truth: BoxTargets) -> None:
        """Count one image; both in pixels of the same frame, detections best first."""
        boxes = found.boxes.cpu().float()
        iou = pairwise_iou(boxes, truth.boxes).numpy()  # (D, N)
        labels, classes = found.labels.cpu().numpy(), truth.labels.numpy()
        scores = found.scores.cpu().double().numpy()
        same = labels[:, None] == classes[None, :]
        own = _greedy(np.where(same, iou, 0.0))  # (D,) object of the own class, or FREE
        counts = (own != FREE) | ~_mostly_inside(boxes, truth.crowd_boxes)
        self._scores.append(scores[counts])
        self._correct.append((own != FREE)[counts])
        self.num_objects += len(classes)
        strong = scores >= self.score_threshold
        self.in_crowds += int((strong & ~counts).sum())
        kept = strong & counts
        self._add_strong(iou[kept], same[kept], labels[kept], classes, own[kept])

    def precision_recall(self, num_points: int = 101) -> dict[str, list[float | None]]:
        """Return precision, recall and F1 of all classes together at evenly spaced score thresholds from 0 to 1.

        Precision is None where nothing is detected.
        """
        scores = np.concatenate([np.zeros(0), *self._scores])
        correct = np.concatenate([np.zeros(0, dtype=bool), *self._correct])
        thresholds = np.linspace(0.0, 1.0, num_points).tolist()
        detected = [int((scores >= threshold).sum()) for threshold in thresholds]
        right = [int(correct[scores >= threshold].sum()) for threshold in thresholds]
        objects, pairs = self.num_objects, list(zip(right, detected, strict=True))
        return {
            "threshold": thresholds,
            "precision": [hits / found if found else None for hits, found in pairs],
            "recall": [hits / objects if objects else None for hits in right],
            "f1": [2 * hits / (found + objects) if found + objects else None for hits, found in pairs],
        }

    def most_confused(self, count: int = 10) -> list[tuple[int, int, int]]:
        """Return up to ``count`` (true class, predicted class, number) off the diagonal, most frequent first."""
        inner = self.matrix[:-1, :-1].copy()
        np.fill_diagonal(inner, 0)
        order = np.argsort(-inner, axis=None, kind="stable")[:count]
        pairs = np.stack(np.unravel_index(order, inner.shape), axis=1).tolist()
        return [(row, column, int(inner[row, column])) for row, column in pairs if inner[row, column]]

    def _add_strong(
        self, iou: np.ndarray, same: np.ndarray, labels: np.ndarray, classes: np.ndarray, own: np.ndarray
    ) -> None:
        left = np.ones(len(classes), dtype=bool)  # objects that no detection of their class has found
        left[own[own != FREE]] = False
        taken, rest = own.copy(), own == FREE
        taken[rest] = _greedy(np.where(left & ~same[rest], iou[rest], 0.0))
        np.add.at(self.matrix, (np.append(classes, self.num_classes)[taken], labels), 1)  # FREE is the last row
        self.kinds.update(map(_kind, iou, same, own != FREE))
        left[taken[taken != FREE]] = False
        self.matrix[:-1, -1] += np.bincount(classes[left], minlength=self.num_classes)
        self.kinds["missed"] += int(left.sum())


def _greedy(iou: np.ndarray) -> np.ndarray:
    """Return the column that each row takes, ``FREE`` for none: rows in order, each column at most once."""
    taken = np.full(len(iou), FREE)
    free = iou.copy()
    for row in np.flatnonzero((iou >= MATCH_IOU).any(axis=1)) if iou.size else ():
        best = int(free[row].argmax())
        if free[row, best] >= MATCH_IOU:
            taken[row] = best
            free[:, best] = 0.0
    return taken


def _kind(iou: np.ndarray, same: np.ndarray, is_correct: bool) -> str:
    """Return what one detection is, from its overlaps with the objects."""
    if is_correct:
        return "correct"
    best_same, best_other = iou[same].max(initial=0.0), iou[~same].max(initial=0.0)
    if best_same >= MATCH_IOU:
        return "duplicate"
    if best_other >= MATCH_IOU:
        return "wrong class"
    if best_same >= NEAR_IOU:
        return "poorly placed"
    return "wrong class, poorly placed" if best_other >= NEAR_IOU else "background"


def _mostly_inside(boxes: torch.Tensor, crowd_boxes: torch.Tensor) -> np.ndarray:
    """Return which boxes have half of their area or more inside one crowd region."""
    if not len(crowd_boxes):
        return np.zeros(len(boxes), dtype=bool)
    inside = pairwise_intersection(boxes, crowd_boxes) / box_area(boxes)[:, None].clamp(min=1e-9)
    return (inside >= MATCH_IOU).any(dim=1).numpy()
