"""Two charts as SVG: how large objects are for the network, and how many an image has."""

from __future__ import annotations

import math

import numpy as np

from retina.doctor.detector_view import DetectorView

_MAX_DOTS = 1500
_SIDE, _MARGIN = 380, 44  # pixels
_LEAST, _MOST = 4.0, 1024.0  # pixels of the network's input that the axes span


def size_scatter(view: DetectorView) -> str:
    """Return width against height of the objects on logarithmic axes; those that no anchor reaches stand out."""
    count = len(view.boxes)
    chosen = np.linspace(0, count - 1, min(count, _MAX_DOTS)).round().astype(int)
    sides, out = view.sides[chosen], view.unreached[chosen]
    size = _SIDE + 2 * _MARGIN
    parts = [f'<svg viewBox="0 0 {size} {size}" width="{size}" role="img" aria-label="widths and heights of objects">']
    for tick in (8, 32, 96, 256, 512):
        at = _place(tick)
        low, high = _MARGIN, _MARGIN + _SIDE
        parts.append(
            f'<line class="axis" x1="{_MARGIN + at:.0f}" y1="{low}" x2="{_MARGIN + at:.0f}" y2="{high}"/>'
            f'<line class="axis" x1="{low}" y1="{high - at:.0f}" x2="{high}" y2="{high - at:.0f}"/>'
            f'<text x="{_MARGIN + at:.0f}" y="{high + 16}" text-anchor="middle">{tick}</text>'
            f'<text x="{_MARGIN - 6}" y="{high - at + 4:.0f}" text-anchor="end">{tick}</text>'
        )
    for (width, height), is_out in zip(sides.tolist(), out.tolist(), strict=True):
        x, y = _MARGIN + _place(width), _MARGIN + _SIDE - _place(height)
        parts.append(f'<circle class="dot{" out" * is_out}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
    middle = _MARGIN + _SIDE / 2
    parts.append(
        f'<text x="{middle}" y="{size - 6}" text-anchor="middle">width, pixels</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">height, pixels</text>'
        "</svg>"
    )
    shown = f"{len(chosen):,} of {count:,} objects, evenly chosen. " if count > len(chosen) else ""
    return "".join(parts) + f'<p class="soft small">{shown}Orange: no anchor reaches IoU 0.5.</p>'


def histogram(values: np.ndarray, *, num_bars: int = 24) -> str:
    """Return how many images have how many objects, as bars."""
    most = int(values.max(initial=0))
    step = max(1, math.ceil((most + 1) / num_bars))
    counts = np.bincount(values // step, minlength=most // step + 1)
    width, height, gap = 22, 120, 3
    total = len(counts) * (width + gap) + 2 * _MARGIN
    parts = [f'<svg viewBox="0 0 {total} {height + 44}" width="{total}" role="img" aria-label="objects an image">']
    for position, number in enumerate(counts.tolist()):
        bar = height * number / max(1, counts.max())
        x = _MARGIN + position * (width + gap)
        label = f"{position * step}" if step == 1 else f"{position * step}+"
        parts.append(
            f'<rect x="{x}" y="{16 + height - bar:.1f}" width="{width}" height="{bar:.1f}" fill="var(--bar)"/>'
            f'<text x="{x + width / 2}" y="{12 + height - bar:.1f}" text-anchor="middle">{number or ""}</text>'
            f'<text x="{x + width / 2}" y="{height + 32}" text-anchor="middle">{label}</text>'
        )
    return f'<div class="scroll">{"".join(parts)}</svg></div>'


def _place(side: float) -> float:
    """Return how far along an axis a side stands, in pixels of the chart."""
    clipped = min(max(side, _LEAST), _MOST)
    return _SIDE * math.log(clipped / _LEAST) / math.log(_MOST / _LEAST)
