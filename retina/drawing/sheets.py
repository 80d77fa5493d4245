"""Contact sheets of batches: what the network sees, with boxes, crowds, padding and a caption a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from retina.drawing.boxes import CAPTION_BACKGROUND, draw_boxes
from retina.drawing.fonts import drawable
from retina.structures import Batch, BoxTargets, Sample

CAPTION_SIZE = 13  # pixels of the font
_PADDING_COLORS = np.array([(60, 60, 60), (78, 78, 78)], dtype=np.uint8)
_STRIPE = 8  # pixels
_GAP = 6


def batch_panels(batch: Batch, class_names: Sequence[str], *, least_side: int, num_anchors: int) -> list[np.ndarray]:
    """Return a picture of each image of ``batch``: the whole canvas, padding striped, with its objects.

    Args:
        batch: as the network is given it.
        class_names: of the labels.
        least_side: small images are enlarged by a whole number until their long side has so many pixels at least, so
            that labels do not hide them.
        num_anchors: those of one image of the batch.
    """
    panels = []
    index = batch.targets.positive_index.numpy() // num_anchors
    positives = np.bincount(index, minlength=len(batch)).tolist()
    for row, targets in enumerate(batch.box_targets):
        pixels = batch.images.pixels[row].permute(1, 2, 0).numpy()
        height, width = (int(side) for side in batch.images.sizes[row])
        caption = f"image {batch.image_ids[row]}: {width} x {height}, {_counts(targets)}, {positives[row]} anchors"
        panels.append(_panel(pixels, (height, width), targets, class_names, caption, least_side=least_side))
    return panels


def stored_panel(sample: Sample, class_names: Sequence[str], *, least_side: int, most_side: int) -> np.ndarray:
    """Return a picture of a stored image with its objects, not larger than ``most_side`` unless it is enlarged."""
    height, width = sample.image.shape[:2]
    scale = min(1.0, most_side / max(height, width))
    image = sample.image
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    targets = _scaled(sample.targets, scale)
    caption = f"stored: {width} x {height}, {_counts(targets)}"
    return _panel(image, image.shape[:2], targets, class_names, caption, least_side=least_side)


def contact_sheet(panels: Sequence[np.ndarray], *, columns: int | None = None) -> np.ndarray:
    """Return ``panels`` in rows of ``columns``; None: as many as make the sheet about square."""
    columns = min(columns or math.ceil(math.sqrt(len(panels))), len(panels))
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    width = max(panel.shape[1] for panel in panels)
    heights = [max(panel.shape[0] for panel in row) for row in rows]
    sheet_size = (sum(heights) + _GAP * (len(rows) - 1), columns * width + _GAP * (columns - 1), 3)
    sheet = np.full(sheet_size, CAPTION_BACKGROUND, dtype=np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = column * (width + _GAP)
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += height + _GAP
    return sheet


def side_by_side(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return two pictures beside each other."""
    return contact_sheet([first, second], columns=2)


def _panel(
    pixels: np.ndarray,
    size: tuple[int, int],
    targets: BoxTargets,
    class_names: Sequence[str],
    caption: str,
    *,
    least_side: int,
) -> np.ndarray:
    zoom = max(1, math.ceil(least_side / max(pixels.shape[:2])))
    picture = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    _stripe(picture, size[0] * zoom, size[1] * zoom)
    picture = draw_boxes(
        picture,
        targets.boxes * zoom,
        targets.labels,
        class_names=class_names,
        crowd_boxes=targets.crowd_boxes * zoom,
    )
    return np.concatenate([_caption(caption, picture.shape[1]), picture])


def _stripe(picture: np.ndarray, height: int, width: int) -> None:
    """Mark what lies beyond ``height`` and ``width``: padding is black in the batch, as a night may be."""
    rows, columns = np.indices(picture.shape[:2])
    stripes = _PADDING_COLORS[(rows + columns) // _STRIPE % 2]
    picture[height:] = stripes[height:]
    picture[:, width:] = stripes[:, width:]


def _caption(text: str, width: int) -> np.ndarray:
    """Return a strip of one line, or of two where ``text`` is wider than the picture."""
    shown, font = drawable(text, CAPTION_SIZE)
    lines = [shown] if font.getlength(shown) + 8 <= width else list(shown.rpartition(": ")[::2])
    strip = Image.new("RGB", (width, 2 * CAPTION_SIZE * len(lines)), CAPTION_BACKGROUND)
    for number, line in enumerate(lines):
        place = (4, CAPTION_SIZE * (2 * number + 1))
        ImageDraw.Draw(strip).text(place, line, fill=(255, 255, 255), font=font, anchor="lm")
    return np.array(strip)


def _counts(targets: BoxTargets) -> str:
    ignored = f", {len(targets.crowd_boxes)} ignored" if len(targets.crowd_boxes) else ""
    return f"{len(targets.boxes)} object{'s' if len(targets.boxes) != 1 else ''}{ignored}"


def _scaled(targets: BoxTargets, scale: float) -> BoxTargets:
    return BoxTargets(targets.boxes * scale, targets.labels, targets.crowd_boxes * scale)
