"""Pictures of boxes: legible at any image size, one fixed colour per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from retina.drawing.colours import CROWD_COLOR, class_color
from retina.drawing.labels import Pen, Rectangle, draw_label, inclusive, place_labels, whole_pixels
from retina.structures import Detections


def draw_boxes(
    image: np.ndarray,
    boxes: Any,
    labels: Any,
    scores: Any = None,
    *,
    class_names: Sequence[str],
    crowd_boxes: Any = (),
) -> np.ndarray:
    """Return a copy of ``image`` with boxes in the colour of their class, and name and score beside each.

    The best box is on top; without scores the smallest. The image is ``(H, W, 3)`` uint8 RGB; boxes ``(N, 4)`` are xyxy
    pixels of it, labels ``(N,)`` in [0, K); ``crowd_boxes`` ``(C, 4)`` are regions drawn grey and dashed.
    """
    boxes, labels = _array(boxes).reshape(-1, 4), _array(labels).astype(int)
    priority = -(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) if scores is None else _array(scores)
    if not len(boxes) == len(labels) == len(priority):
        raise ValueError(f"got {len(boxes)} boxes, {len(labels)} labels and {len(priority)} scores")
    order = np.argsort(-priority, kind="stable")  # best first
    texts = [(class_names[labels[i]], "" if scores is None else f"{priority[i]:.2f}") for i in order]

    size = image.shape[:2]
    pen = Pen.for_image(*size)
    picture = Image.fromarray(image).copy()
    canvas = ImageDraw.Draw(picture)
    for crowd_box in _array(crowd_boxes).reshape(-1, 4):
        _draw_dashed(canvas, inclusive(whole_pixels(crowd_box, *size)), pen.line_width)
    for i in reversed(order):
        rectangle = inclusive(whole_pixels(boxes[i], *size))
        canvas.rectangle(rectangle, outline=class_color(labels[i]), width=pen.line_width)
    # All labels after all boxes, so that no line crosses a text.
    for i, place in reversed(list(zip(order, place_labels(boxes[order], texts, size, pen), strict=True))):
        draw_label(canvas, place, class_color(labels[i]))
    return np.array(picture)


def strong(detections: Detections, score_threshold: float) -> Detections:
    """Return the detections whose score is at least ``score_threshold``."""
    keep = detections.scores >= score_threshold
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def _draw_dashed(canvas: ImageDraw.ImageDraw, rectangle: Rectangle, line_width: int) -> None:
    x1, y1, x2, y2 = rectangle
    dash = 4 * line_width
    lines = [(x, y, min(x + dash, x2), y) for x in range(x1, x2, 2 * dash) for y in (y1, y2)]
    lines += [(x, y, x, min(y + dash, y2)) for y in range(y1, y2, 2 * dash) for x in (x1, x2)]
    for line in lines:
        canvas.line(line, fill=CROWD_COLOR, width=line_width)


def _array(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()
