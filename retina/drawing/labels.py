"""Where the names of boxes stand in a picture: inside it, legible, covering as little as possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from retina.drawing.colours import Color, text_color
from retina.drawing.fonts import Font, drawable

Size = tuple[int, int]  # (height, width)
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2; x2 and y2 are outside


@dataclass(frozen=True)
class Pen:
    """Line width and letter size that suit an image."""

    line_width: int
    font_size: int

    @property
    def padding(self) -> int:  # pixels between a label's text and its edge
        return max(1, self.font_size // 6)

    @classmethod
    def for_image(cls, height: int, width: int) -> Pen:
        """Return sizes that grow with the image; letters never get smaller than 11 pixels."""
        side = (height * width) ** 0.5
        return cls(line_width=max(2, round(side / 300)), font_size=max(11, round(side / 45)))


@dataclass(frozen=True)
class Label:
    """A text with the filled rectangle it stands on."""

    text: str
    font: Font
    background: Rectangle
    padding: int


def place_labels(boxes: np.ndarray, texts: Sequence[tuple[str, str]], size: Size, pen: Pen) -> list[Label]:
    """Return a label per box that lies inside the image of ``size`` (height, width).

    Above the box where there is room, else inside at its top, below it or beside it; of these the place that covers
    the least of the labels before it and of the small boxes.

    Args:
        boxes: ``(N, 4)`` xyxy pixels, the most important first.
        texts: name and score of each; a name too long for the image is cut.
    """
    rectangles = [whole_pixels(box, *size) for box in boxes]
    # A box no higher than two labels would vanish under a neighbour's.
    taken = [rectangle for rectangle in rectangles if rectangle[3] - rectangle[1] < 3 * pen.font_size]
    labels: list[Label] = []
    for rectangle, (name, score) in zip(rectangles, texts, strict=True):
        labels.append(_place(rectangle, _fitting(name, score, size[1], pen), size, pen, taken))
        taken.append(labels[-1].background)
    return labels


def _fitting(name: str, score: str, width: int, pen: Pen) -> str:
    """Return name and score, the name cut where both are wider than an image of ``width`` pixels."""
    name = " ".join(name.split())  # Pillow does not measure text of several lines
    text = whole = f"{name} {score}".strip()
    for length in range(len(name) - 1, -1, -1):
        fitted, font = drawable(text, pen.font_size)
        if font.getlength(fitted) + 2 * pen.padding <= width:
            return text
        text = f"{name[:length]}... {score}".strip()
    return min(text, whole, key=len)


def _place(box: Rectangle, text: str, size: Size, pen: Pen, taken: Sequence[Rectangle]) -> Label:
    height, width = size
    text, font = drawable(text, pen.font_size)
    label_width = min(width, math.ceil(font.getlength(text)) + 2 * pen.padding)
    label_height = min(height, round(1.2 * pen.font_size) + 2 * pen.padding)
    x1, y1, x2, y2 = box
    x = min(x1, width - label_width)
    corners = [(x, y1 - label_height), (x, y1), (x, y2), (x, y2 - label_height)]
    corners += [(x2, y1), (x1 - label_width, y1)]
    inside = [(x, y) for x, y in corners if 0 <= x <= width - label_width and 0 <= y <= height - label_height]
    # In an image lower than two labels there may be no such place.
    corners = inside or [(x, min(y1, height - label_height))]
    places = [(x, y, x + label_width, y + label_height) for x, y in corners]
    others = np.array(taken).reshape(-1, 4)

    def covered(place: Rectangle) -> float:
        sides = np.minimum(place[2:], others[:, 2:]) - np.maximum(place[:2], others[:, :2])
        return float(sides.clip(min=0).prod(axis=1).sum())

    # min() takes the first of equals, so the order of the corners is the order of preference.
    return Label(text, font, min(places, key=covered), pen.padding)


def draw_label(canvas: ImageDraw.ImageDraw, label: Label, color: Color) -> None:
    """Draw ``label`` on a ground of ``color``."""
    x1, y1, _, y2 = label.background
    canvas.rectangle(inclusive(label.background), fill=color)
    # "lm": the text's left end and middle height stand at this point.
    canvas.text((x1 + label.padding, (y1 + y2) / 2), label.text, fill=text_color(color), font=label.font, anchor="lm")


def whole_pixels(box: np.ndarray, height: int, width: int) -> Rectangle:
    """Return the box in whole pixels inside the image, at least one pixel wide and high."""
    x1, y1, x2, y2 = (int(value) for value in np.rint(box))
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, max(min(x2, width), x1 + 1), max(min(y2, height), y1 + 1)


def inclusive(rectangle: Rectangle) -> Rectangle:
    """Return the corners as Pillow counts them: the second one is the last pixel inside."""
    x1, y1, x2, y2 = rectangle
    return x1, y1, x2 - 1, y2 - 1
