"""How figures look, and figures as SVG and as pixels: without a display, without any global state of matplotlib.

matplotlib is imported where it is used: a run that draws no figure never loads it.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from retina.drawing.colours import LINE_COLORS, hexadecimal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Black in pictures; in a page it becomes the colour of the text, which is light where the page is dark.
INK = "#010203"
GREY = "#8c8c8c"  # reads on white and on black
COLORS = tuple(map(hexadecimal, LINE_COLORS))
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

_MAX_NAME = 24
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small files that can be searched and read aloud
}


def new_axes(rows: int, columns: int, *, size: tuple[float, float], **sharing: Any) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of ``size`` inches with ``(rows, columns)`` axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing)


def styled() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn as all of ours are."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def line_style(position: int) -> dict[str, Any]:
    """Return colour and dashes of line ``position``: told apart without colour too."""
    return {"color": COLORS[position % len(COLORS)], "linestyle": DASHES[position // len(COLORS) % len(DASHES)]}


def printable(name: str) -> str:
    """Return a stranger's ``name`` as it may stand in a picture: short, on one line, and no mathematics.

    matplotlib reads what stands between two dollars as TeX.
    """
    plain = "".join(" " if unicodedata.category(letter)[0] in "ZC" else letter for letter in name).strip()
    short = plain if len(plain) <= _MAX_NAME else f"{plain[: _MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")


def label_ends(axes: Axes, names: Sequence[str], *, gap: float = 0.075) -> None:
    """Write the name of each line of ``axes`` at its right end, moved apart where they would touch.

    Args:
        axes: with its limits set; lines are in the order of ``names``.
        names: of the lines.
        gap: least distance of two names in heights of the axes.
    """
    ends = []
    for line, name in zip(axes.get_lines(), names, strict=False):
        _, y = axes.transData.transform(np.column_stack(line.get_data())[-1])
        height = (y - axes.bbox.y0) / axes.bbox.height
        ends.append((min(max(float(np.nan_to_num(height)), 0.0), 1.0), line.get_color(), name))
    ends.sort(key=lambda end: end[0])
    for place, (_, color, name) in zip(_apart([end[0] for end in ends], gap), ends, strict=True):
        axes.annotate(
            name,
            (1.0, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=color,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


def number_bars(axes: Axes, values: Sequence[float] | np.ndarray, form: str = "") -> None:
    """Write the numbers at the ends of horizontal bars; counts where there is no ``form``, such as ``.3g``."""
    axes.set_xlim(0, max(map(float, values), default=0.0) * 1.18 or 1.0)
    for row, value in enumerate(values):
        text = format(value, form) if form else count(int(value))
        axes.annotate(text, (float(value), row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)


def say_none(axes: Axes) -> None:
    """Write that there is nothing to draw."""
    axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=GREY)


def count(number: int) -> str:
    """Return ``number`` with marks between thousands, millions rounded."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f} M"


def to_svg(figure: Figure, *, name: str) -> str:
    """Return ``figure`` as one ``<svg>`` element without a background, its ink in the colour of the text around it.

    Ids inside begin with ``name``, so that several may stand in one page; the same figure gives the same text.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font does not have
        written = io.StringIO()
        figure.patch.set_alpha(0.0)
        for axes in figure.axes:
            axes.patch.set_alpha(0.0)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(written, metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", svg)
    return svg.replace(INK, "currentColor")


def as_file(svg: str) -> str:
    """Return the text of an ``.svg`` file of a figure: dark ink on white."""
    style = 'style="color:#1b1b1f;background:#ffffff"'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace("<svg ", f"<svg {style} ", 1)


def to_pixels(figure: Figure, *, dpi: int = 100) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 RGB pixels of ``figure`` on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with styled(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure.set_dpi(dpi)
        figure.patch.set_facecolor("white")
        figure.patch.set_alpha(1.0)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending ``places`` moved as little as needed for ``gap`` between them, below 1 if it can be."""
    moved = list(places)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    over = moved[-1] - 1.0 if moved else 0.0
    if over > 0:
        moved[-1] -= over
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    return moved
