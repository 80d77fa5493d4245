"""Pictures of anchors: beside the objects of an image, at their cells, and over the sizes of all boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from retina.anchors.coverage import NetworkBoxes, best_anchors, measure_coverage, positive_anchors
from retina.data.dataset import DetectionDataset
from retina.data.transforms.resize import resized_size
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid
from retina.drawing.colours import GREEN, LOST_COLOR, ORANGE, WHITE, YELLOW, Color, class_color, hexadecimal
from retina.drawing.figures import log_square, new_axes, printable, styled, to_pixels
from retina.drawing.labels import Pen, Rectangle, draw_label, place_labels
from retina.drawing.sheets import captioned, contact_sheet, enlarged, side_by_side
from retina.errors import DataError
from retina.settings import ImageSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By how the best anchor does: at the upper threshold, between the two, below, and no anchor at all.
REACHED, BETWEEN, BELOW, LOST = GREEN, YELLOW, ORANGE, LOST_COLOR
LEGEND = "green: best anchor is positive; yellow: between; orange: below; red: lost; white: the best anchor"
_SIDES = (4.0, 2048.0)  # px of the network that the plot of sizes spans
_MOST_FONT = 18  # px of captions: the panels of all levels stand side by side

Named = tuple[str, Assigner]  # "before" or "after", and the anchors


def write_pictures(
    dataset: DetectionDataset,
    objects: NetworkBoxes,
    image: ImageSettings,
    named: Sequence[Named],
    out: Path,
    num_pictures: int,
) -> None:
    """Write ``sizes.png``, ``shapes.png`` and ``num_pictures`` images with their boxes and best anchors into ``out``.

    An image that cannot be read is left out and said.
    """
    sizes = sizes_figure(objects.sides, [(name, assigner.anchors) for name, assigner in named])
    Image.fromarray(to_pixels(sizes, dpi=120)).save(out / "sizes.png")
    drawn = 0
    for index in images_to_draw(objects, named, num_pictures):
        try:
            stored = dataset.sample(index).image
        except DataError as error:
            print(f"note: left out of the pictures: {error.what}")
            continue
        height, width = resized_size(*stored.shape[:2], short_side=image.short_side, long_side=image.long_side)
        pixels = cv2.resize(stored, (width, height), interpolation=cv2.INTER_LINEAR)
        boxes = objects.boxes[objects.image == index]
        picture = boxes_beside_anchors(pixels, boxes, tuple(objects.canvases[index].tolist()), named)
        Image.fromarray(picture).save(out / f"image_{dataset.image_ids[index]}.png")
        if drawn == 0:
            Image.fromarray(shapes_at_their_cells(pixels, named)).save(out / "shapes.png")
        drawn += 1
    print(f"pictures written to {out}" + (f" ({dataset.split} images; {LEGEND})" if drawn else ""))


def images_to_draw(objects: NetworkBoxes, named: Sequence[Named], count: int) -> list[int]:
    """Return ``count`` images: half of them those with the worst boxes under the first anchors, the others spread."""
    present = np.unique(objects.image)
    if count == 0:
        return []
    missing = 1.0 - measure_coverage(named[0][1], objects).best_iou
    worst = np.argsort(-np.bincount(objects.image, missing**2, minlength=len(objects.canvases)), kind="stable")
    spread = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    chosen = [*worst[: (count + 1) // 2].tolist(), *spread.tolist(), *worst.tolist()]
    return [index for index in dict.fromkeys(chosen) if index in set(present.tolist())][:count]


def boxes_beside_anchors(
    image: np.ndarray, boxes: np.ndarray, canvas: tuple[int, int], named: Sequence[Named]
) -> np.ndarray:
    """Return a panel for each of ``named``: every box in the colour of its outcome, with its best anchor and IoU.

    The image ``(H, W, 3)`` uint8 RGB is as the network gets it, without padding; boxes ``(N, 4)`` are float32 xyxy
    pixels of it; ``canvas`` is (height, width) with padding.
    """
    shown, zoom = enlarged(image)
    panels = []
    for name, assigner in named:
        grid = AnchorGrid(assigner.anchors, canvas)
        iou, anchor = best_anchors(grid, boxes)
        own = np.bincount(positive_anchors(assigner, grid, boxes, np.zeros(len(boxes)))[1], minlength=len(boxes))
        colors = [_outcome(best, int(count), assigner) for best, count in zip(iou, own, strict=True)]
        panel = _draw_pairs(shown, boxes * zoom, grid.anchors.numpy()[anchor] * zoom, colors, iou)
        reached = sum(color == REACHED for color in colors)
        panels.append(_captioned(panel, f"{name}: {reached} of {len(boxes)} boxes reached, {colors.count(LOST)} lost"))
    return side_by_side(*panels)


def shapes_at_their_cells(image: np.ndarray, named: Sequence[Named]) -> np.ndarray:
    """Return a row for each of ``named`` and a panel for each level: all shapes at the cell nearest to the middle."""
    panels = []
    for name, assigner in named:
        for level, stride in enumerate(assigner.anchors.strides):
            picture = Image.fromarray(image).convert("L").convert("RGB")
            pen, offset = ImageDraw.Draw(picture), assigner.anchors.offset * stride
            center = [round((side / 2 - offset) / stride) * stride + offset for side in image.shape[1::-1]]
            for shape, anchor in enumerate((assigner.anchors.shapes(stride).numpy() + center * 2).tolist()):
                pen.rectangle(anchor, outline=class_color(shape // len(assigner.anchors.aspect_ratios)), width=2)
            pen.ellipse([center[0] - 2, center[1] - 2, center[0] + 2, center[1] + 2], fill=class_color(level))
            panels.append(_captioned(np.array(picture), f"{name}, stride {stride}"))
    return contact_sheet(panels, columns=len(panels) // len(named))


def sizes_figure(sides: np.ndarray, named: Sequence[tuple[str, AnchorGenerator]]) -> Figure:
    """Return a plot for each of ``named``: how often boxes have which width and height, and the shapes of anchors.

    ``sides`` are ``(N, 2)`` widths and heights in pixels of the network; a level has one colour.
    """
    edges = np.geomspace(*_SIDES, 71)
    widths, heights = sides.clip(*_SIDES).T
    density = np.log1p(np.histogram2d(heights, widths, bins=[edges, edges])[0])
    with styled():
        figure, axes = new_axes(1, len(named), size=(5.6 * len(named), 5.8))
        for place, (name, generator) in zip(axes[0], named, strict=True):
            place.pcolormesh(edges, edges, density, cmap="Greys", vmin=0, vmax=max(1e-9, density.max()))
            for level, stride in enumerate(generator.strides):
                shapes = generator.shapes(stride).numpy()
                dots = {"color": hexadecimal(class_color(level)), "markeredgecolor": "white", "label": f"{stride:g}"}
                place.plot(*(shapes[:, 2:] - shapes[:, :2]).T, "o", markersize=7, **dots)
            log_square(place, _SIDES, [2**power for power in range(2, 12)])
            place.set(
                xlabel="width, pixels of the network (darker: more boxes)", ylabel="height, pixels of the network"
            )
            place.set_title(printable(name))
            place.legend(title="anchors of stride", loc="upper left", fontsize=8)
    return figure


def _outcome(iou: np.float32, num_positives: int, assigner: Assigner) -> Color:
    if num_positives == 0:
        return LOST
    # Compared as the assigner does, in float32.
    if iou >= np.float32(assigner.positive_iou):
        return REACHED
    return BETWEEN if iou >= np.float32(assigner.negative_iou) else BELOW


def _draw_pairs(
    image: np.ndarray, boxes: np.ndarray, anchors: np.ndarray, colors: Sequence[Color], iou: np.ndarray
) -> np.ndarray:
    size = (image.shape[0], image.shape[1])
    pen, picture = Pen.for_image(*size), Image.fromarray(image).copy()
    canvas = ImageDraw.Draw(picture)
    for anchor in anchors:
        canvas.rectangle(_corners(anchor), outline=WHITE, width=max(1, pen.line_width // 2))
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


def _captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    return captioned(picture, caption, font_size=min(Pen.for_image(*picture.shape[:2]).font_size, _MOST_FONT))
