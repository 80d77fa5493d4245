"""K-means of box shapes where the distance is 1 - IoU, and what it proposes for RetinaNet's anchors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from retina.detection.anchors import AnchorGenerator

_MAX_ROUNDS = 100


def shape_iou(sides: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return ``(N, M)`` IoU of ``(N, 2)`` and ``(M, 2)`` widths and heights laid on one centre."""
    intersection = np.minimum(sides[:, None], others).prod(axis=2)
    return intersection / (sides.prod(axis=1)[:, None] + others.prod(axis=1) - intersection)


def iou_kmeans(sides: np.ndarray, num_clusters: int, *, weights: np.ndarray, seed: int) -> np.ndarray:
    """Return ``(num_clusters, 2)`` widths and heights, the best of what the rounds of k-means pass through.

    ``sides`` ``(N, 2)`` are above 0, ``weights`` ``(N,)`` say how much a box counts; the outcome is a function of
    these and ``seed``. A cluster's centre is the geometric mean of its boxes: twice and half as large are equally far.

    Source: Redmon and Farhadi 2017, YOLO9000, section 2 (distance 1 - IoU); Arthur and Vassilvitskii 2007,
    k-means++ (start).
    """
    centers = _distant_start(sides, num_clusters, weights, np.random.default_rng([seed, num_clusters]))
    best, best_score, owner = centers, -1.0, np.full(len(sides), -1)
    for _ in range(_MAX_ROUNDS):
        iou = shape_iou(sides, centers)
        before, owner = owner, iou.argmax(axis=1)
        score = float(weights @ iou.max(axis=1))
        if score > best_score:
            best, best_score = centers, score
        if np.array_equal(owner, before):
            break
        total = np.bincount(owner, weights, minlength=num_clusters)
        logs = [np.bincount(owner, weights * np.log(side), minlength=num_clusters) for side in sides.T]
        means = np.exp(np.stack(logs, axis=1) / np.maximum(total, 1e-300)[:, None])
        centers = np.where(total[:, None] > 0, means, centers)  # a cluster without a box stays where it is
    return best


def proposals(
    start: AnchorGenerator, sides: np.ndarray, *, weights: np.ndarray, seed: int, num_scales: int, num_ratios: int
) -> list[AnchorGenerator]:
    """Return anchors of RetinaNet's kind near the clusters of box shapes, one for each way to share them by level.

    A level repeats the shapes of the one before it at its own stride. So boxes are given to the level whose stride
    suits them, measured in its strides, clustered, and the clusters' ratios and sizes averaged in groups. Which
    level suits depends on the anchors' size in strides, so several are tried.
    """
    strides = np.array(start.strides, dtype=np.float64)
    size = np.sqrt(sides.prod(axis=1))
    middle = start.base_scale * math.prod(start.scales) ** (1 / len(start.scales))
    found = []
    for factor in (0.25, 0.5, 1.0, 2.0):
        distance = np.abs(np.log(size[:, None] / (middle * factor * strides)))
        in_strides = sides / strides[distance.argmin(axis=1)][:, None]
        centers = iou_kmeans(in_strides, num_scales * num_ratios, weights=weights, seed=seed)
        ratios = _means_of_groups(np.log(centers[:, 1] / centers[:, 0]), num_ratios)
        scales = _means_of_groups(np.log(centers.prod(axis=1)) / 2, num_scales)
        found.append(shaped(start, scales, ratios))
    return found


def shaped(start: AnchorGenerator, sizes: np.ndarray, ratios: np.ndarray) -> AnchorGenerator:
    """Return anchors of ``start``'s strides and offset with these sizes in strides, ascending, and aspect ratios."""
    scales = tuple((sizes / sizes[0]).tolist())
    return replace(start, base_scale=float(sizes[0]), scales=scales, aspect_ratios=tuple(ratios.tolist()))


def _distant_start(
    sides: np.ndarray, num_clusters: int, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return ``(num_clusters, 2)`` of the boxes, each drawn by its squared distance from those before it."""
    chosen = [int(generator.choice(len(sides), p=weights / weights.sum()))]
    distance = np.ones(len(sides))
    while len(chosen) < num_clusters:
        distance = np.minimum(distance, 1 - shape_iou(sides, sides[chosen[-1:]])[:, 0]).clip(min=0)
        chance = weights * distance**2
        if chance.sum() <= 0:  # fewer different boxes than clusters
            chance = weights
        chosen.append(int(generator.choice(len(sides), p=chance / chance.sum())))
    return sides[chosen]


def _means_of_groups(logs: np.ndarray, num_groups: int) -> np.ndarray:
    """Return the geometric mean of each of ``num_groups`` equal groups of neighbours, ascending."""
    return np.exp([group.mean() for group in np.array_split(np.sort(logs), num_groups)])
