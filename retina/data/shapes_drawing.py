"""Scenes of the shapes set: what is in an image, where, and which pixels of it can be seen.

Later figures hide earlier ones. Every figure is a small mask of coverage, so that what is painted and what is
annotated come from the same pixels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator

from retina.boxes import pairwise_iou
from retina.data.shapes_textures import Texture, draw_background

MAX_IOU = 0.4  # between the boxes of any two figures of an image
MIN_VISIBLE, MIN_VISIBLE_SMALL = 0.6, 0.85  # share of an object's pixels inside the image and in sight
MIN_VISIBLE_DISTRACTOR = 0.95  # a half hidden one could be taken for an object
MIN_BOX_SIDE = 10
SMALL_SHARE = 0.245  # of the objects, before those that found no place are given up
SMALL_SIDES, LARGE_SIDES, DISTRACTOR_SIDES = (14.0, 30.0), (36.0, 128.0), (20.0, 64.0)  # pixels
MAX_TURN = 0.2  # radians: upright shapes are learnt in minutes
ATTEMPTS = 25  # places tried before a figure is given up


@dataclass(frozen=True)
class ObjectClass:
    """What is annotated: a shape in a colour."""

    category_id: int  # as in the annotation file
    shape: str
    colour: str

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


# Some differ only in colour (red and blue circle), some only in shape (red circle and square, green triangle and
# cross). The ids have gaps and do not start at 0 or 1, as in real files.
CLASSES = (
    ObjectClass(3, "circle", "red"),
    ObjectClass(4, "circle", "blue"),
    ObjectClass(7, "square", "red"),
    ObjectClass(8, "triangle", "green"),
    ObjectClass(9, "cross", "green"),
    ObjectClass(13, "star", "yellow"),
)

HUES = {"red": (-8, 8), "yellow": (47, 58), "green": (115, 145), "blue": (212, 235)}  # degrees


@dataclass(frozen=True)
class Figure:
    """One thing painted on the background, an object of a class or a distractor."""

    label: int | None  # index into CLASSES; None for a distractor
    coverage: np.ndarray  # (h, w) uint8: how much of each pixel it covers, 255 = all
    corner: tuple[int, int]  # (x, y) of `coverage` in the image; may lie outside
    colour: tuple[float, float, float]  # RGB in [0, 1]
    slope: tuple[float, float]  # change of brightness over its width and over its height

    @property
    def least_visible_area(self) -> float:
        """Return how many of its pixels must be seen so that a person can still name it."""
        area = cv2.countNonZero((self.coverage >= 128).view(np.uint8))
        if self.label is None:
            return MIN_VISIBLE_DISTRACTOR * area
        return area * (MIN_VISIBLE_SMALL if max(self.coverage.shape) < 40 else MIN_VISIBLE)

    def clipped(self, side: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the window of an image of ``side`` pixels that it can touch, and the same window of ``coverage``."""
        starts = np.array(self.corner[::-1])
        first = np.maximum(starts, 0)
        last = np.maximum(np.minimum(starts + self.coverage.shape, side), first)
        return tuple(map(slice, first, last)), tuple(map(slice, first - starts, last - starts))


class Layout:
    """Figures that stand together within the set's rules, the last one on top."""

    def __init__(self, side: int) -> None:
        self.figures: list[Figure] = []
        self.owner = np.zeros((side, side), np.uint8)  # 1 + index of the figure seen at a pixel; 0 background
        self.boxes: list[tuple[int, int, int, int]] = []  # xyxy pixels, the extent of what is seen

    def place(self, figure: Figure) -> bool:
        """Put ``figure`` on top unless that breaks a rule for it or for a figure below; return whether it was put."""
        window, own = figure.clipped(len(self.owner))
        solid = figure.coverage[own] >= 128
        owner, boxes, number = self.owner.copy(), [*self.boxes, (0, 0, 0, 0)], len(self.boxes) + 1
        touched = np.unique(owner[window][solid])
        owner[window][solid] = number
        for index in {*(touched[touched > 0] - 1).tolist(), number - 1}:
            whole = figure if index == number - 1 else self.figures[index]
            seen = (owner == index + 1).view(np.uint8)
            if cv2.countNonZero(seen) < whole.least_visible_area:
                return False
            x, y, width, height = cv2.boundingRect(seen)
            if min(width, height) < MIN_BOX_SIDE:
                return False
            boxes[index] = (x, y, x + width, y + height)
        corners = torch.tensor(boxes, dtype=torch.float32)
        if bool((pairwise_iou(corners, corners).triu(1) > MAX_IOU).any()):
            return False
        self.figures, self.owner, self.boxes = [*self.figures, figure], owner, boxes
        return True

    def visible_mask(self, index: int) -> np.ndarray:
        """Return ``(side, side)`` bool: where the figure ``index`` is seen."""
        return self.owner == index + 1


def draw_scene(rng: Generator, textures: Sequence[Texture], *, side: int, empty: bool) -> tuple[np.ndarray, Layout]:
    """Return ``(side, side, 3)`` uint8 RGB pixels and the layout that they show; ``empty`` means distractors only."""
    background = draw_background(rng, textures[int(rng.integers(len(textures)))], side=side)
    layout = Layout(side)
    labels: list[int | None] = [] if empty else [int(v) for v in rng.integers(len(CLASSES), size=rng.integers(3, 13))]
    labels += [None] * int(rng.integers(0, 3))
    for label in rng.permutation(np.array(labels, dtype=object)):
        sides = SMALL_SIDES if rng.random() < SMALL_SHARE else LARGE_SIDES
        for _ in range(ATTEMPTS):
            if layout.place(_random_figure(rng, label, layout, DISTRACTOR_SIDES if label is None else sides)):
                break
    image = paint(background, layout.figures)
    grain = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape) >> 4  # 0..15
    return cv2.subtract(cv2.add(image, grain), np.full_like(image, 8)), layout


def paint(background: np.ndarray, figures: Sequence[Figure]) -> np.ndarray:
    """Return ``background`` with ``figures`` over it in their order, edges blended by coverage.

    A darker rim keeps a red circle on a red square apart.
    """
    image = background.copy()
    for figure in figures:
        window, own = figure.clipped(len(image))
        height, width = figure.coverage.shape
        x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(figure.slope[0])
        y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(figure.slope[1])
        rim = cv2.erode(figure.coverage, np.ones((3, 3), np.uint8)) < 128
        brightness = ((1 + x + y[:, None]) * np.where(rim, np.float32(0.6), np.float32(1)))[own]
        colour = np.clip(brightness[..., None] * np.array(figure.colour, np.float32) * 255, 0, 255)
        opacity = figure.coverage[own][..., None].astype(np.float32) / 255
        image[window] = (image[window] * (1 - opacity) + colour * opacity + 0.5).astype(np.uint8)
    return image


def _random_figure(rng: Generator, label: int | None, layout: Layout, sides: tuple[float, float]) -> Figure:
    image_side = len(layout.owner)
    side = float(np.exp(rng.uniform(*np.log(np.minimum(sides, 0.5 * image_side)))))
    kind = CLASSES[label] if label is not None else None
    shape, colour = (kind.shape, kind.colour) if kind else _distractor(rng)
    coverage = _coverage(SHAPES[shape], side=side, angle=rng.uniform(-MAX_TURN, MAX_TURN), shift=rng.random(2))
    if layout.boxes and rng.random() < 0.5:  # beside another one, so that overlaps are common
        x1, y1, x2, y2 = layout.boxes[rng.integers(len(layout.boxes))]
        distance = rng.uniform(0.2, 0.6) * (side + max(x2 - x1, y2 - y1))
        direction = rng.uniform(0, 2 * np.pi)
        center = np.array([x1 + x2, y1 + y2]) / 2 + distance * np.array([np.cos(direction), np.sin(direction)])
    else:
        center = rng.uniform(0.35 * side, image_side - 0.35 * side, 2)
    corner = np.round(center - np.array(coverage.shape[::-1]) / 2)
    slope = rng.uniform(-0.25, 0.25, 2)
    return Figure(label, coverage, (int(corner[0]), int(corner[1])), _rgb(rng, colour), (slope[0], slope[1]))


def _distractor(rng: Generator) -> tuple[str, str]:
    """Return a shape and a colour of no class: another shape, a class's shape in gray, or in another's colour."""
    colour, choice = str(rng.choice(list(HUES))), rng.integers(3)
    if choice == 0:
        return str(rng.choice(["ring", "crescent", "bar", "elbow"])), colour
    taken = {(kind.shape, kind.colour) for kind in CLASSES}
    shape = str(rng.choice(sorted({kind.shape for kind in CLASSES})))
    return shape, "gray" if choice == 1 or (shape, colour) in taken else colour


def _rgb(rng: Generator, colour: str) -> tuple[float, float, float]:
    if colour == "gray":
        return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.25, 0.95))
    return colorsys.hsv_to_rgb(rng.uniform(*HUES[colour]) / 360 % 1, rng.uniform(0.75, 1), rng.uniform(0.7, 1))


def _coverage(outlines: Sequence[np.ndarray], *, side: float, angle: float, shift: np.ndarray) -> np.ndarray:
    """Return ``(h, w)`` uint8 coverage of a turned shape whose box has the area of a square of ``side`` pixels.

    ``shift``: ``(2,)`` part of a pixel by which the shape is off the pixel grid.
    """
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [outline @ turn for outline in outlines]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    scale = (side - 1) / np.sqrt(np.prod(high - low))  # antialiased polygons are drawn half a pixel wider all round
    width, height = np.ceil((high - low) * scale).astype(int) + 6
    coverage = np.zeros((height, width), np.uint8)
    points = [np.round(((outline - low) * scale + 2 + shift) * 256).astype(np.int32) for outline in turned]
    return cv2.fillPoly(coverage, points, 255, cv2.LINE_AA, shift=8)


def _arc(radii: float | Sequence[float], start: float = 0.0, stop: float = 2 * np.pi, count: int = 64) -> np.ndarray:
    """Return ``(count, 2)`` points around the origin at equal angles, their distances cycling through ``radii``."""
    angles = np.linspace(start, stop, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.resize(radii, count)[:, None]


_HALF_CROSS = [(1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3)]
# Outlines of any size around any point; a second outline is a hole.
SHAPES: dict[str, list[np.ndarray]] = {
    "circle": [_arc(1.0)],
    "square": [_arc(1.0, count=4)],
    "triangle": [_arc(1.0, count=3)],
    "star": [_arc((1.0, 0.45), count=10)],
    "cross": [np.array([*_HALF_CROSS, *(-np.array(_HALF_CROSS))], dtype=float)],
    "ring": [_arc(1.0), _arc(0.6)],
    "crescent": [np.concatenate([_arc(1.0, 0.8, 5.483), _arc(0.732, 1.368, 4.915)[::-1] + (0.55, 0.0)])],
    "bar": [np.array([(0.0, 0), (4, 0), (4, 1), (0, 1)])],
    "elbow": [np.array([(0.0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)])],
}
