"""Anchor shapes that fit given boxes: k-means proposes, a pattern search refines, held-out boxes judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from retina.anchors.coverage import NetworkBoxes
from retina.anchors.kmeans import proposals
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
    candidates = proposals(start, objective.sides.astype(np.float64), weights=objective.weights, seed=seed,
                           num_scales=num_scales, num_ratios=num_ratios)  # fmt: skip
    candidates.append(start if given else _even(start, num_scales, num_ratios))
    ranked = sorted(candidates[:-1], key=objective, reverse=True)[:_NUM_REFINED]
    best, best_score = (start, objective(start)) if given else (None, -math.inf)
    for position, candidate in enumerate([*ranked, candidates[-1]], start=1):
        refined = _rounded(_refine(objective, candidate))
        score = objective(refined)
        tell(f"search {position} of {len(ranked) + 1}: {objective(candidate):.4f} -> {score:.4f}")
        if score > best_score:
            best, best_score = refined, score
    assert best is not None
    return best


@dataclass(frozen=True)
class Gain:
    """What boxes gain from other anchors, and how sure that is."""

    mean: float
    standard_error: float  # images are drawn, not boxes: those of one image are alike

    @property
    def pays(self) -> bool:
        """Tell whether the gain is more than chance and more than nothing."""
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
    num_scales = len(start.scales)
    point = np.log([start.base_scale * scale for scale in start.scales] + list(start.aspect_ratios))
    moves = _moves(num_scales, len(start.aspect_ratios))
    score = objective(_at(start, point, num_scales))
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for move in moves:
                candidate = point + step * move
                if not _allowed(candidate, num_scales):
                    continue
                value = objective(_at(start, candidate, num_scales))
                if value > score + 1e-6:
                    point, score, improved = candidate, value, True
    return _at(start, point, num_scales)


def _moves(num_scales: int, num_ratios: int) -> np.ndarray:
    """Return directions: every number alone, all scales, all ratios, and ratios away from their middle; both ways."""
    size = num_scales + num_ratios
    scales, ratios, spread = np.zeros(size), np.zeros(size), np.zeros(size)
    scales[:num_scales], ratios[num_scales:] = 1, 1
    spread[num_scales:] = np.linspace(-1, 1, num_ratios) if num_ratios > 1 else 0
    moves = np.concatenate([np.eye(size), [scales, ratios, spread]])
    return np.stack([moves, -moves], axis=1).reshape(-1, size)


def _allowed(point: np.ndarray, num_scales: int) -> bool:
    scales, ratios = point[:num_scales], point[num_scales:]
    inside = _SIZE_LIMITS[0] <= scales.min() and scales.max() <= _SIZE_LIMITS[1]
    return bool(inside and np.abs(ratios).max() <= _RATIO_LIMIT)


def _at(start: AnchorGenerator, point: np.ndarray, num_scales: int) -> AnchorGenerator:
    sides = np.sort(np.exp(point[:num_scales]))
    ratios = np.sort(np.exp(point[num_scales:]))
    return replace(start, base_scale=float(sides[0]), scales=tuple((sides / sides[0]).tolist()),
                   aspect_ratios=tuple(ratios.tolist()))  # fmt: skip


def _even(start: AnchorGenerator, num_scales: int, num_ratios: int) -> AnchorGenerator:
    """Return anchors spread evenly: scales over one octave, ratios from 1/2 to 2."""
    ratios = np.exp2(np.linspace(-1, 1, num_ratios)) if num_ratios > 1 else np.ones(1)
    return replace(start, scales=tuple(np.exp2(np.arange(num_scales) / num_scales).tolist()),
                   aspect_ratios=tuple(ratios.tolist()))  # fmt: skip


def _rounded(generator: AnchorGenerator) -> AnchorGenerator:
    def short(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(f"{value:.{DIGITS}g}") for value in values)

    return replace(generator, base_scale=short([generator.base_scale])[0], scales=short(generator.scales),
                   aspect_ratios=short(generator.aspect_ratios))  # fmt: skip
