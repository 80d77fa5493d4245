"""How figures look, and figures as SVG and as pixels: without a display, without any global state of matplotlib.

matplotlib is imported where it is used: a run that draws no figure never loads it.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
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
_INKED = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(_INKED, INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), GREY),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: small files that can be searched and read aloud
}


def new_axes(rows: int, columns: int, *, size: tuple[float, float], **sharing: Any) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of ``size`` inches with ``(rows, columns)`` axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing)


def styled() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn as all of ours are; lines differ without colour too."""
    import matplotlib as mpl
    from matplotlib.rcsetup import cycler

    lines = cycler(linestyle=DASHES) * cycler(color=COLORS)  # the colours change first
    return mpl.rc_context({**_STYLE, "axes.prop_cycle": lines})


def printable(name: str) -> str:
    """Return a stranger's ``name`` as it may stand in a picture: short, on one line, and no mathematics.

    matplotlib reads what stands between two dollars as TeX.
    """
    plain = "".join(" " if unicodedata.category(letter)[0] in "ZC" else letter for letter in name).strip()
    short = plain if len(plain) <= _MAX_NAME else f"{plain[: _MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")


def draw_bars(axes: Axes, names: Sequence[str], parts: Mapping[str, tuple[Any, Any]], ends: Sequence[str]) -> None:
    """Draw horizontal bars, the first at the top, with a text at the end of each.

    Args:
        axes: empty.
        names: of the bars.
        parts: by label, the values and the colour of what each bar is made of, from the left.
        ends: the texts.
    """
    left = np.zeros(len(names))
    for label, (values, color) in parts.items():
        bars = axes.barh(names, values, left=left, color=color, label=label, height=0.7)
        left = left + np.asarray(values)
    axes.bar_label(bars, ends, padding=3, fontsize=8)
    axes.set_xlim(0, left.max(initial=0.0) * 1.18 or 1.0)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def log_square(axes: Axes, limits: tuple[float, float], ticks: Sequence[int]) -> None:
    """Make both axes logarithmic from and to ``limits``, equally long, with plain numbers at ``ticks``."""
    axes.set(xscale="log", yscale="log", aspect="equal", xlim=limits, ylim=limits)
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.set_yticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()


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
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_alpha(0.0)
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
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
        figure.patch.set(facecolor="white", alpha=1.0)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
