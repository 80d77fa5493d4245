"""Pictures of what a loss does to one score or to one box; each takes plain values that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retina.drawing.figures import GREY, line_style, new_axes
from retina.lab.box_curves import MAX_SCALE

Curves = Mapping[str, Mapping[str, Any]]  # by name: x, loss, gradient

_FLOOR = 1e-4  # of logarithmic axes; below, a loss is nothing
_SIDE_TITLES = {"positive": "anchor with an object", "background": "background anchor"}
_WAY_TITLES = {
    "shift": "shift along x, in box sides",
    "scale": "both sides times",
}


def focal_figure(curves: Curves) -> Figure:
    """Draw the focal loss against p_t for every gamma, linear and logarithmic: Lin et al. 2017, figure 1."""
    figure, axes = new_axes(1, 2, size=(9.0, 3.9))
    for place, log in zip(axes[0], (False, True), strict=True):
        _draw(place, curves, "loss", log=log)
        place.set_xlabel("p_t, probability of what is true")
        place.set_title("logarithmic" if log else "loss")
        if not log:
            place.set_ylim(0.0, 5.0)
    axes[0, 0].axvspan(0.6, 1.0, color=GREY, alpha=0.12, linewidth=0)
    axes[0, 0].text(0.8, 4.75, "well-classified", ha="center", va="top", fontsize=8.5, color=GREY)
    names = [curve["name"] for curve in curves.values()]
    axes[0, 1].legend(axes[0, 1].get_lines(), names, loc="lower left")
    return figure


def classification_figure(sides: Mapping[str, Curves]) -> Figure:
    """Draw every classification loss as its file configures it: loss above, slope below, one column a side."""
    figure, axes = new_axes(2, 2, size=(9.6, 6.4), sharex=True, sharey="row")
    for column, (side, curves) in enumerate(sides.items()):
        for row, what in enumerate(("loss", "gradient")):
            _draw(axes[row, column], curves, what, log=True)
        axes[0, column].set_title(_SIDE_TITLES[side])
        axes[1, column].set_xlabel("p_t, probability of what is true")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("size of the slope in the logit")
    names = list(next(iter(sides.values())))
    figure.legend(axes[0, 0].get_lines(), names, loc="outside right upper", fontsize=8.5)
    return figure


def focus_figure(losses: Mapping[str, Mapping[str, Curves]]) -> Figure:
    """Draw every loss that has an exponent to focus, for several of it: two panels a loss, one a side."""
    rows = -(-len(losses) // 2)
    figure, axes = new_axes(rows, 4, size=(10.4, 2.3 * rows + 0.4), sharex=True, sharey=True)
    panels = [(name, side, curves) for name, sides in losses.items() for side, curves in sides.items()]
    for place, (name, side, curves) in zip(axes.flat, panels, strict=False):
        _draw(place, curves, "loss", log=True)
        place.set_title(f"{name}:\n{_SIDE_TITLES[side]}", fontsize=8.5)
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    for place in axes[:, 0]:
        place.set_ylabel("loss")
    for place in axes[-1]:
        place.set_xlabel("p_t")
    names = [f"{float(value):g}" for value in panels[0][2]]
    figure.legend(axes[0, 0].get_lines(), names, title="exponent", loc="outside right upper")
    return figure


def context_figure(losses: Mapping[str, Curves], *, label: str) -> Figure:
    """Draw losses that look at more than the score, for several values of it: one row a loss."""
    figure, axes = new_axes(len(losses), 2, size=(9.6, 2.6 * len(losses) + 0.3), sharex=True)
    for row, (name, curves) in enumerate(losses.items()):
        for column, what in enumerate(("loss", "gradient")):
            place = axes[row, column]
            _draw(place, curves, what, log=True)
            place.set_title(f"{name}: {'loss' if what == 'loss' else 'size of the slope in the logit'}")
    for place in axes[-1]:
        place.set_xlabel(label)
    names = [curve["name"] for curve in next(iter(losses.values())).values()]
    figure.legend(axes[0, 0].get_lines(), names, loc="outside right upper")
    return figure


def box_figure(losses: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw box losses of one kind: loss above, gradient below, against shift, scale and IoU."""
    figure, axes = new_axes(2, 3, size=(10.4, 6.0), sharex="col", sharey="row")
    for row, what in enumerate(("loss", "gradient")):
        for column, way in enumerate(_WAY_TITLES):
            for position, curves in enumerate(losses.values()):
                axes[row, column].plot(curves[way]["x"], curves[way][what], **line_style(position))
        for position, curves in enumerate(losses.values()):
            beyond = (np.array(curves["shift"]["x"]) > 0) & (np.array(curves["shift"]["iou"]) > 0)
            overlap = [np.array(curves["shift"][name])[beyond] for name in ("iou", what)]
            axes[row, 2].plot(*overlap, **line_style(position))
    for column, text in enumerate([*_WAY_TITLES.values(), "IoU (boxes shifted along x)"]):
        axes[1, column].set_xlabel(text)
    _scale_axis(axes[1, 1])
    axes[0, 0].set_ylabel("loss, with its weight")
    axes[1, 0].set_ylabel("norm of the gradient in the box codes")
    for place in axes[:, 0]:
        place.set_ylim(0.0, _upper_limit(place))
    figure.legend(axes[0, 0].get_lines(), list(losses), loc="outside right upper", fontsize=8.5)
    return figure


def _draw(place: Axes, curves: Curves, what: str, *, log: bool) -> None:
    for position, curve in enumerate(curves.values()):
        place.plot(curve["x"], curve[what], **line_style(position))
    place.set_xlim(0.0, 1.0)
    if log:
        _log_axis(place)
    else:
        place.set_ylim(bottom=0.0)


def _log_axis(place: Axes) -> None:
    highest = max((np.max(line.get_ydata()) for line in place.get_lines()), default=1.0)
    place.set_yscale("log")
    place.set_ylim(_FLOOR, max(place.get_ylim()[1], highest * 1.5))


def _scale_axis(place: Axes) -> None:
    place.set_xscale("log", base=2)
    ticks = [1 / MAX_SCALE, 0.5, 1.0, 2.0, MAX_SCALE]
    place.set_xticks(ticks, ["1/4", "1/2", "1", "2", "4"])
    place.minorticks_off()
    place.set_xlim(ticks[0], ticks[-1])


def _upper_limit(place: Axes) -> float:
    """Return a limit that shows nearly all of every line: one steep loss would flatten the others."""
    return 1.05 * max(float(np.quantile(np.asarray(line.get_ydata()), 0.9)) for line in place.get_lines())
