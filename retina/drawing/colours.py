"""The one palette of pictures, figures and pages, told apart also by colour-blind eyes."""

from __future__ import annotations

import numpy as np

Color = tuple[int, int, int]  # RGB, 0..255

# Source: Okabe and Ito 2008, Color Universal Design, without black.
BLUE: Color = (0, 114, 178)
VERMILLION: Color = (213, 94, 0)
GREEN: Color = (0, 158, 115)
PURPLE: Color = (204, 121, 167)
ORANGE: Color = (230, 159, 0)
SKY: Color = (86, 180, 233)
YELLOW: Color = (240, 228, 66)

# Of classes: the seven, yellow last as it is faint on bright images; then colours each of which was the farthest (in
# CIE L*a*b*, for normal and for red-green-blind eyes) from all before it. More cannot be told apart anyway.
CLASS_COLORS: tuple[Color, ...] = (
    BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW,
    (0, 0, 255), (102, 255, 153), (102, 102, 255), (0, 102, 0), (51, 255, 255), (0, 102, 102), (102, 255, 204),
    (255, 51, 102), (102, 153, 255), (0, 51, 204), (51, 255, 102), (0, 102, 51), (153, 0, 204), (102, 102, 153),
    (255, 153, 153), (204, 51, 51), (102, 51, 255),
)  # fmt: skip
# Of the lines of a figure, in an order of changing lightness; yellow is too faint on white.
LINE_COLORS: tuple[Color, ...] = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE)

WHITE: Color = (255, 255, 255)
CAPTION_BACKGROUND: Color = (32, 32, 32)
CROWD_COLOR: Color = (190, 190, 190)
LOST_COLOR: Color = (220, 0, 0)  # of an object that no anchor learns


def class_color(label: int) -> Color:
    """Return the RGB colour of class ``label``, whatever the number of classes."""
    return CLASS_COLORS[label % len(CLASS_COLORS)]


def hexadecimal(color: Color) -> str:
    """Return ``color`` as figures and pages write it: ``#0072b2``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def text_color(background: Color) -> Color:
    """Return black or white, whichever has the higher contrast on ``background``.

    Source: WCAG 2.1, relative luminance; 0.179 is where both contrasts are equal. IEC 61966-2-1, sRGB to linear light.
    """
    value = np.array(background) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (0, 0, 0) if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else WHITE
