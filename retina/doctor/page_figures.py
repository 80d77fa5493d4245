"""Two figures: how large objects are for the network, and how many an image has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from retina.doctor.detector_view import DetectorView
from retina.drawing.figures import COLORS, log_square, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_DOTS = 1500
_LEAST, _MOST = 4.0, 1024.0  # pixels of the network's input that the axes span


def size_figure(view: DetectorView) -> tuple[Figure, str]:
    """Return width against height of the objects, those that no anchor reaches in orange, and what to say of it."""
    count = len(view.boxes)
    chosen = np.linspace(0, count - 1, min(count, _MAX_DOTS)).round().astype(int)
    sides, out = view.sides[chosen].clip(_LEAST, _MOST), view.unreached[chosen]
    with styled():
        figure, axes = new_axes(1, 1, size=(5.8, 5.4))
        place = axes[0, 0]
        for members, color, opacity in ((~out, COLORS[0], 0.35), (out, COLORS[3], 0.8)):
            place.plot(*sides[members].T, "o", markersize=3.5, color=color, alpha=opacity, markeredgewidth=0)
        log_square(place, (_LEAST, _MOST), [8, 32, 96, 256, 512])
        place.set(xlabel="width, pixels", ylabel="height, pixels")
    shown = f"{len(chosen):,} of {count:,} objects, evenly chosen. " if count > len(chosen) else ""
    return figure, f"{shown}Orange: no anchor reaches IoU 0.5."


def objects_figure(objects_of_image: np.ndarray, *, num_bars: int = 24) -> Figure:
    """Return how many images have how many objects, as bars."""
    most = int(objects_of_image.max(initial=0))
    step = max(1, math.ceil((most + 1) / num_bars))
    counts = np.bincount(objects_of_image // step, minlength=most // step + 1)
    with styled():
        figure, axes = new_axes(1, 1, size=(max(3.0, 0.36 * len(counts) + 1.0), 2.6))
        place = axes[0, 0]
        bars = place.bar(range(len(counts)), counts, width=0.88, color=COLORS[0])
        place.bar_label(bars, [f"{number:,}" if number else "" for number in counts], fontsize=8, padding=2)
        place.set_xticks(range(len(counts)), [f"{i * step}{'+' * (step > 1)}" for i in range(len(counts))])
        place.tick_params(axis="x", rotation=60 if step > 1 and len(counts) > 12 else 0)
        place.grid(visible=False, axis="x")
        place.set(xlabel="objects", ylabel="images", ylim=(0, 1.15 * max(1, counts.max())))
    return figure
