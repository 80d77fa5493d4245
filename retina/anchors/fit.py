"""Anchor shapes that fit given boxes: k-means proposes, a pattern search refines, held-out boxes judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from retina.anchors.coverage import NetworkBoxes
from retina.anchors.kmeans import proposals, shaped
from retina.detection.anchors import AnchorGenerator

FitGoal = Literal["iou", "share"]  # mean IoU of boxes with their best anchor; share that reaches anchors.positive_iou
FIT_GOALS: tuple[str, ...] = get_args(FitGoal)

DIGITS = 4  # of the fitted numbers: finer than any effect, and a file that people can read
# A search that aims at the share alone stands still wherever no box crosses the threshold.
_TIE_BREAKER = 0.02
_STEPS = tuple(0.35 * 0.5**halvings for halvings in range(6))  # in natural logarithms: 42 % down to 1 %
_NUM_REFINED = 2  # starts beside the present anchors
LEAST_GAIN = 0.005  # of the goal: smaller ones change no training
_SURE = 2.0  # standard errors
_RATIO_LIMIT = math.log(16)
_SIZE_LIMITS = (math.log(0.25), math.log(64))  # of an anchor's side in strides


class Objective:
    """How well anchor shapes fit boxes, each compared with the nearest anchor of every shape.

    Overlap falls off with the distance of the centres along each axis, so the best anchor of a shape is the nearest
    one, and its distance does not depend on the shape: a score of 45 shapes and 10,000 boxes takes milliseconds.
    """

    def __init__(
        self, objects: NetworkBoxes, start: AnchorGenerator, *, weights: np.ndarray, goal: str, positive_iou: float
    ) -> None:
        """Measure distances; ``weights`` (m,) say how much a box counts, ``goal`` is one of FIT_GOALS."""
        if goal not in FIT_GOALS:
            raise ValueError(f"goal must be one of {', '.join(FIT_GOALS)}, got {goal!r}")
        self.goal, self.positive_iou = goal, positive_iou
        self.weights = weights / weights.sum()
        low, high = objects.boxes[:, :2].astype(np.float64), objects.boxes[:, 2:].astype(np.float64)
        self.sides, centers = (high - low).astype(np.float32), (low + high) / 2
        distances = []
        for stride in start.strides:
            cells = -(-objects.canvases[objects.image][:, ::-1] // stride)
            nearest = np.rint(centers / stride - start.offset).clip(0, cells - 1)
            distances.append(np.abs(centers - (nearest + start.offset) * stride))
        self._distances = np.array(distances, dtype=np.float32)  # (L, N, 2)

    def best_iou(self, generator: AnchorGenerator) -> np.ndarray:
        """Return ``(N,)`` float32 IoU of each box with the best of the anchors, of the same strides and offset."""
        best = np.zeros(len(self.sides), dtype=np.float32)
        areas = self.sides[:, 0] * self.sides[:, 1]
        for stride, distance in zip(generator.strides, self._distances, strict=True):
            shapes = generator.shapes(stride).numpy()
            for side in shapes[:, 2:] - shapes[:, :2]:
                shared = np.minimum(np.minimum(self.sides, side), (self.sides + side) / 2 - distance)
                np.maximum(shared, 0, out=shared)
                intersection = shared[:, 0] * shared[:, 1]
                np.maximum(best, intersection / (areas + side[0] * side[1] - intersection), out=best)
        return best

    def __call__(self, generator: AnchorGenerator) -> float:
        """Return the score, the larger the better: the mean best IoU, or the share of boxes that reach the threshold.

        The share has a fiftieth of the mean added, which says where to go while no box crosses the threshold.
        """
        iou = self.best_iou(generator)
        mean = float(self.weights @ iou)
        return mean if self.goal == "iou" else float(self.weights @ (iou >= self.positive_iou)) + _TIE_BREAKER * mean


def fit_anchors(
    objective: Objective,
    start: AnchorGenerator,
    *,
    num_scales: int,
    num_ratios: int,
    seed: int,
    tell: Callable[[str], None] = lambda text: None,
) -> AnchorGenerator:
    """Return anchors of ``start``'s strides and offset whose shapes score best; never worse than ``start``.

    With other numbers of scales or ratios than ``start``'s there is nothing to be compared with, and the search
    begins at proposals alone. A function of the boxes, the settings and ``seed``.
    """
    given = (num_scales, num_ratios) == (len(start.scales), len(start.aspect_ratios))
    numbers = {"num_scales": num_scales, "num_ratios": num_ratios}
    sides = objective.sides.astype(np.float64)
    proposed = proposals(start, sides, weights=objective.weights, seed=seed, **numbers)
    ranked = sorted(proposed, key=objective, reverse=True)[:_NUM_REFINED]
    candidates = [*ranked, start if given else _even(start, **numbers)]
    found = [start] if given else []
    for position, candidate in enumerate(candidates, start=1):
        found.append(_rounded(_refine(objective, candidate)))
        tell(f"search {position} of {len(candidates)}: {objective(candidate):.4f} -> {objective(found[-1]):.4f}")
    return max(found, key=objective)  # the first of equals


@dataclass(frozen=True)
class Gain:
    """What boxes gain from other anchors, and how sure that is."""

    mean: float
    standard_error: float  # images are drawn, not boxes: those of one image are alike

    @property
    def pays(self) -> bool:
        """Return whether the gain is more than chance and more than nothing."""
        return self.mean >= LEAST_GAIN and self.mean > _SURE * self.standard_error


def gain(before: np.ndarray, after: np.ndarray, *, image: np.ndarray, weights: np.ndarray) -> Gain:
    """Return the weighted mean of ``after - before`` over boxes; its error is infinite for boxes of one image."""
    weights = weights / weights.sum()
    difference = after.astype(np.float64) - before
    mean = float(weights @ difference)
    of_image = np.bincount(np.unique(image, return_inverse=True)[1], weights * (difference - mean))
    if len(of_image) < 2:
        return Gain(mean, math.inf)
    # Source: the cluster-robust variance of a mean, with the usual correction for the number of clusters.
    return Gain(mean, math.sqrt(float(of_image @ of_image) * len(of_image) / (len(of_image) - 1)))


def class_weights(labels: np.ndarray, *, balanced: bool) -> np.ndarray:
    """Return ``(m,)`` 1 for every box, or weights with which each class that occurs counts alike; they sum to m."""
    if not balanced:
        return np.ones(len(labels))
    _, kind, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return len(labels) / (len(counts) * counts[kind].astype(np.float64))


def _refine(objective: Objective, start: AnchorGenerator) -> AnchorGenerator:
    """Return the end of a pattern search: every move that helps is taken, then steps are halved.

    Source: Hooke and Jeeves 1961, "Direct search" solution of numerical and statistical problems.
    """
    num_scales, num_ratios = len(start.scales), len(start.aspect_ratios)

    def anchors(logs: np.ndarray) -> AnchorGenerator:
        sizes, ratios = np.exp(logs[:num_scales]), np.exp(logs[num_scales:])
        return shaped(start, np.sort(sizes), np.sort(ratios))

    def allowed(logs: np.ndarray) -> bool:
        sizes, ratios = logs[:num_scales], logs[num_scales:]
        inside = _SIZE_LIMITS[0] <= sizes.min() and sizes.max() <= _SIZE_LIMITS[1]
        return bool(inside and np.abs(ratios).max() <= _RATIO_LIMIT)

    point = np.log([start.base_scale * scale for scale in start.scales] + list(start.aspect_ratios))
    score = objective(anchors(point))
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for move in _moves(num_scales, num_ratios):
                candidate = point + step * move
                if allowed(candidate) and (value := objective(anchors(candidate))) > score + 1e-6:
                    point, score, improved = candidate, value, True
    return anchors(point)


def _moves(num_scales: int, num_ratios: int) -> np.ndarray:
    """Return directions: every number alone, all scales, all ratios, and ratios away from their middle; both ways."""
    scales = np.repeat([1.0, 0.0], [num_scales, num_ratios])
    away = np.linspace(-1, 1, num_ratios) if num_ratios > 1 else np.zeros(1)
    moves = np.concatenate([np.eye(len(scales)), [scales, 1 - scales, np.append(np.zeros(num_scales), away)]])
    return np.stack([moves, -moves], axis=1).reshape(-1, len(scales))


def _even(start: AnchorGenerator, num_scales: int, num_ratios: int) -> AnchorGenerator:
    """Return anchors spread evenly: scales over one octave, ratios from 1/2 to 2."""
    scales = np.exp2(np.arange(num_scales) / num_scales)
    ratios = np.exp2(np.linspace(-1, 1, num_ratios)) if num_ratios > 1 else np.ones(1)
    return replace(start, scales=tuple(scales.tolist()), aspect_ratios=tuple(ratios.tolist()))


def _rounded(generator: AnchorGenerator) -> AnchorGenerator:
    def short(*values: float) -> tuple[float, ...]:
        return tuple(float(f"{value:.{DIGITS}g}") for value in values)

    scales, ratios = short(*generator.scales), short(*generator.aspect_ratios)
    return replace(generator, base_scale=short(generator.base_scale)[0], scales=scales, aspect_ratios=ratios)
