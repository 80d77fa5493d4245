"""Pictures of anchors: beside the objects of an image, at their cells, and over the sizes of all boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from retina.anchors.coverage import best_anchors, positive_anchors
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid
from retina.drawing.boxes import CAPTION_BACKGROUND, SMALL_IMAGE
from retina.drawing.colours import Color, class_color
from retina.drawing.fonts import drawable
from retina.drawing.labels import Pen, Rectangle, draw_label, place_labels

# By how the best anchor does: at the upper threshold, between the two, below, and no anchor at all.
REACHED: Color = (0, 158, 115)
BETWEEN: Color = (240, 228, 66)
BELOW: Color = (230, 159, 0)
LOST: Color = (220, 0, 0)
LEGEND = "green: best anchor is positive; yellow: between; orange: below; red: lost; white: the best anchor"
_WHITE: Color = (255, 255, 255)
_PLOT = 560  # px, a side of the plot of sizes
_PLOT_RANGE = (4.0, 2048.0)  # px of the network
_MARGIN = 44  # px, for the numbers at the axes

Named = tuple[str, Assigner]  # "before" or "after", and the anchors


def boxes_beside_anchors(
    image: np.ndarray, boxes: np.ndarray, canvas: tuple[int, int], named: Sequence[Named]
) -> np.ndarray:
    """Return a panel for each of ``named``: every box in the colour of its outcome, with its best anchor and IoU.

    Args:
        image: ``(H, W, 3)`` uint8 RGB as the network gets it, without padding.
        boxes: ``(N, 4)`` float32 xyxy pixels of ``image``.
        canvas: (height, width) with padding.
        named: captions and anchors.
    """
    zoom = 2 if max(image.shape[:2]) <= SMALL_IMAGE else 1
    shown = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image
    panels = []
    for name, assigner in named:
        grid = AnchorGrid(assigner.anchors, canvas)
        iou, anchor = best_anchors(grid, boxes)
        own = np.bincount(positive_anchors(assigner, grid, boxes, np.zeros(len(boxes)))[1], minlength=len(boxes))
        colors = [_outcome(float(best), int(count), assigner) for best, count in zip(iou, own, strict=True)]
        panel = _draw_pairs(shown, boxes * zoom, grid.anchors.numpy()[anchor] * zoom, colors, iou)
        reached = sum(color == REACHED for color in colors)
        panels.append(_captioned(panel, f"{name}: {reached} of {len(boxes)} boxes reached, {colors.count(LOST)} lost"))
    return _side_by_side(panels)


def shapes_at_their_cells(image: np.ndarray, named: Sequence[Named]) -> np.ndarray:
    """Return a row for each of ``named`` and a panel for each level: all shapes at the cell nearest to the middle."""
    rows = []
    for name, assigner in named:
        panels = []
        for level, stride in enumerate(assigner.anchors.strides):
            picture = Image.fromarray(image).convert("L").convert("RGB")
            pen, offset = ImageDraw.Draw(picture), assigner.anchors.offset * stride
            center = [round((side / 2 - offset) / stride) * stride + offset for side in image.shape[1::-1]]
            for shape, anchor in enumerate((assigner.anchors.shapes(stride).numpy() + center * 2).tolist()):
                pen.rectangle(anchor, outline=class_color(shape // len(assigner.anchors.aspect_ratios)), width=2)
            pen.ellipse([center[0] - 2, center[1] - 2, center[0] + 2, center[1] + 2], fill=class_color(level))
            panels.append(_captioned(np.array(picture), f"{name}, stride {stride}"))
        rows.append(_side_by_side(panels))
    return np.concatenate(rows)


def sizes_under_anchors(sides: np.ndarray, named: Sequence[tuple[str, AnchorGenerator]]) -> np.ndarray:
    """Return a plot for each of ``named``: how often boxes have which width and height, and the shapes of anchors.

    Args:
        sides: ``(N, 2)`` widths and heights in pixels of the network.
        named: captions and anchors; a level has one colour.
    """
    low, high = np.log2(_PLOT_RANGE)
    edges = np.linspace(low, high, 71)
    logs = np.log2(sides.clip(*_PLOT_RANGE))
    counts = np.histogram2d(logs[:, 1], logs[:, 0], bins=(edges, edges))[0][::-1]  # rows are heights, small ones below
    shade = 255 - 215 * np.log1p(counts) / max(1e-9, np.log1p(counts).max())
    heat = cv2.resize(shade.astype(np.uint8), (_PLOT, _PLOT), interpolation=cv2.INTER_NEAREST)
    panels = []
    for name, generator in named:
        picture = Image.new("RGB", (_PLOT + 2 * _MARGIN, _PLOT + 2 * _MARGIN), _WHITE)
        picture.paste(Image.fromarray(heat).convert("RGB"), (_MARGIN, _MARGIN))
        pen = ImageDraw.Draw(picture)
        _draw_axes(pen)
        for level, stride in enumerate(generator.strides):
            shapes = generator.shapes(stride).numpy()
            for width, height in (shapes[:, 2:] - shapes[:, :2]).tolist():
                x, y = _plot_position(width), _PLOT + 2 * _MARGIN - _plot_position(height)
                pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=class_color(level), outline=_WHITE)
        panels.append(_captioned(np.array(picture), name))
    return _side_by_side(panels)


def _outcome(iou: float, num_positives: int, assigner: Assigner) -> Color:
    if num_positives == 0:
        return LOST
    # Compared as the assigner does, in float32.
    if np.float32(iou) >= np.float32(assigner.positive_iou):
        return REACHED
    return BETWEEN if np.float32(iou) >= np.float32(assigner.negative_iou) else BELOW


def _draw_pairs(
    image: np.ndarray, boxes: np.ndarray, anchors: np.ndarray, colors: Sequence[Color], iou: np.ndarray
) -> np.ndarray:
    size = (image.shape[0], image.shape[1])
    pen, picture = Pen.for_image(*size), Image.fromarray(image).copy()
    canvas = ImageDraw.Draw(picture)
    for anchor in anchors:
        canvas.rectangle(_corners(anchor), outline=_WHITE, width=max(1, pen.line_width // 2))
    for box, color in zip(boxes, colors, strict=True):
        canvas.rectangle(_corners(box), outline=color, width=pen.line_width + (color == LOST))
    # Rounded down: 0.499 is not the 0.50 that would be positive.
    places = place_labels(boxes, [(f"{np.floor(100 * value) / 100:.2f}", "") for value in iou], size, pen)
    for place, color in zip(places, colors, strict=True):
        draw_label(canvas, place, color)
    return np.array(picture)


def _corners(box: np.ndarray) -> Rectangle:
    """Return the corners in whole pixels, the second one at least as large; what is outside is not drawn."""
    x1, y1, x2, y2 = (round(value) for value in box.tolist())
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)


def _plot_position(side: float) -> float:
    low, high = np.log2(_PLOT_RANGE)
    return _MARGIN + _PLOT * (float(np.log2(np.clip(side, *_PLOT_RANGE))) - low) / (high - low)


def _draw_axes(pen: ImageDraw.ImageDraw) -> None:
    end = _MARGIN + _PLOT
    pen.rectangle([_MARGIN, _MARGIN, end, end], outline=CAPTION_BACKGROUND)
    for power in range(2, 12):
        text, font = drawable(str(2**power), 13)
        position = _plot_position(2.0**power)
        pen.text((position, end + 6), text, fill=CAPTION_BACKGROUND, font=font, anchor="mt")
        pen.text((_MARGIN - 6, _PLOT + 2 * _MARGIN - position), text, fill=CAPTION_BACKGROUND, font=font, anchor="rm")
    text, font = drawable("width and height in pixels of the network, darker: more boxes", 13)
    pen.text((_MARGIN + _PLOT / 2, end + 26), text, fill=CAPTION_BACKGROUND, font=font, anchor="mt")


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    font_size = min(Pen.for_image(*image.shape[:2]).font_size, 18)
    strip = Image.new("RGB", (image.shape[1], 2 * font_size), CAPTION_BACKGROUND)
    text, font = drawable(caption, font_size)
    ImageDraw.Draw(strip).text((font_size // 2, font_size), text, fill=_WHITE, font=font, anchor="lm")
    return np.concatenate([np.array(strip), image])


def _side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], 6, 3), CAPTION_BACKGROUND, dtype=np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(parts[1:], axis=1)
