"""Pictures put together: captions, contact sheets, and the images of a batch as the network sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from retina.drawing.boxes import draw_boxes
from retina.drawing.colours import CAPTION_BACKGROUND, WHITE
from retina.drawing.fonts import drawable
from retina.structures import Batch, BoxTargets, Sample

CAPTION_SIZE = 13  # pixels of the font
GAP = 6  # pixels between two pictures
SMALL_IMAGE = 400  # pixels of the long side, up to which a picture is shown at twice its size
_PADDING_COLORS = np.array([(60, 60, 60), (78, 78, 78)], dtype=np.uint8)
_STRIPE = 8  # pixels


def captioned(picture: np.ndarray, caption: str, *, font_size: int = CAPTION_SIZE) -> np.ndarray:
    """Return ``picture`` below a strip with ``caption``: one line, or two where a text with a colon is too wide."""
    width = picture.shape[1]
    shown, font = drawable(caption, font_size)
    fits = font.getlength(shown) + 8 <= width or ": " not in shown
    lines = [shown] if fits else list(shown.rpartition(": ")[::2])
    strip = Image.new("RGB", (width, 2 * font_size * len(lines)), CAPTION_BACKGROUND)
    for number, line in enumerate(lines):
        ImageDraw.Draw(strip).text((4, font_size * (2 * number + 1)), line, fill=WHITE, font=font, anchor="lm")
    return np.concatenate([np.array(strip), picture])


def enlarged(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a small image at twice its size, a large one as it is, and the factor that boxes grow by."""
    zoom = 2 if max(image.shape[:2]) <= SMALL_IMAGE else 1
    return (cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image), zoom


def contact_sheet(panels: Sequence[np.ndarray], *, columns: int | None = None) -> np.ndarray:
    """Return ``panels`` in rows of ``columns``; None: as many as make the sheet about square."""
    columns = min(columns or math.ceil(math.sqrt(len(panels))), len(panels))
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    width = max(panel.shape[1] for panel in panels)
    heights = [max(panel.shape[0] for panel in row) for row in rows]
    size = (sum(heights) + GAP * (len(rows) - 1), columns * width + GAP * (columns - 1), 3)
    sheet = np.full(size, CAPTION_BACKGROUND, dtype=np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = column * (width + GAP)
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += height + GAP
    return sheet


def side_by_side(*pictures: np.ndarray) -> np.ndarray:
    """Return pictures beside each other."""
    return contact_sheet(pictures, columns=len(pictures))


def batch_panels(batch: Batch, class_names: Sequence[str], *, least_side: int, num_anchors: int) -> list[np.ndarray]:
    """Return a picture of each image of ``batch``: the whole canvas, padding striped, with its objects.

    Small images are enlarged by a whole number until their long side has ``least_side`` pixels at least, so that labels
    do not hide them; an image has ``num_anchors`` anchors.
    """
    panels = []
    positives = np.bincount(batch.targets.positive_index.numpy() // num_anchors, minlength=len(batch))
    for row, targets in enumerate(batch.box_targets):
        pixels = batch.images.pixels[row].permute(1, 2, 0).numpy()
        height, width = (int(side) for side in batch.images.sizes[row])
        caption = f"image {batch.image_ids[row]}: {width} x {height}, {_counts(targets)}, {positives[row]} anchors"
        panels.append(captioned(_enlarged_panel(pixels, (height, width), targets, class_names, least_side), caption))
    return panels


def stored_panel(sample: Sample, class_names: Sequence[str], *, least_side: int, most_side: int) -> np.ndarray:
    """Return a picture of a stored image with its objects, not larger than ``most_side`` unless it is enlarged."""
    height, width = sample.image.shape[:2]
    image, targets = shrunk(sample, min(1.0, most_side / max(height, width)))
    picture = _enlarged_panel(image, image.shape[:2], targets, class_names, least_side)
    return captioned(picture, f"stored: {width} x {height}, {_counts(sample.targets)}")


def shrunk(sample: Sample, scale: float) -> tuple[np.ndarray, BoxTargets]:
    """Return the image of ``sample`` and its boxes, smaller by the factor ``scale`` of at most 1."""
    image, targets = sample.image, sample.targets
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, BoxTargets(targets.boxes * scale, targets.labels, targets.crowd_boxes * scale)


def _enlarged_panel(
    pixels: np.ndarray, size: tuple[int, int], targets: BoxTargets, class_names: Sequence[str], least_side: int
) -> np.ndarray:
    """Return ``pixels`` with objects; what lies beyond ``size`` (height, width) is striped, as a night is black too."""
    zoom = max(1, math.ceil(least_side / max(pixels.shape[:2])))
    picture = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    rows, columns = np.indices(picture.shape[:2])
    padding = (rows >= size[0] * zoom) | (columns >= size[1] * zoom)
    picture[padding] = _PADDING_COLORS[(rows + columns) // _STRIPE % 2][padding]
    boxes, crowd_boxes = targets.boxes * zoom, targets.crowd_boxes * zoom
    return draw_boxes(picture, boxes, targets.labels, class_names=class_names, crowd_boxes=crowd_boxes)


def _counts(targets: BoxTargets) -> str:
    ignored = f", {len(targets.crowd_boxes)} ignored" if len(targets.crowd_boxes) else ""
    return f"{len(targets.boxes)} object{'s' if len(targets.boxes) != 1 else ''}{ignored}"
