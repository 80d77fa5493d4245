"""Pictures of what the losses of a model look like on data; each takes the plain values of ``Findings``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retina.drawing.figures import COLORS, GREY, INK, label_ends, line_style, new_axes, printable

Plain = Mapping[str, Any]

_LOSS_COLORS = {"classification": COLORS[0], "box": COLORS[1]}
_ON_LOSS = {"classification": "white", "box": "#1b1b1f"}  # text that reads on these colours
_MAX_BARS = 30  # classes in a bar chart; the others are added up


def cumulative_figure(plain: Plain) -> Figure:
    """Draw the cumulative normalised loss of positives and of negatives by gamma: Lin et al. 2017, figure 4."""
    figure, axes = new_axes(1, 2, size=(9.0, 4.2), sharey=True)
    own = plain["focal"]["gamma"]
    for place, group in zip(axes[0], ("positive", "negative"), strict=True):
        curves = {gamma: values for gamma, values in plain["cumulative_loss"][group].items() if values}
        for position, (gamma, values) in enumerate(curves.items()):
            width = 2.6 if float(gamma) == own else 1.4
            place.plot(np.linspace(0, 1, len(values)), values, **{**line_style(position), "linewidth": width})
        place.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"share of the {group} anchors, easiest first")
        place.set_title(f"{group} anchors ({_count(plain['num_anchors'][group])})")
        place.set_aspect("equal")
        if not curves:
            _say_nothing(place)
        place.legend(place.get_lines(), [f"γ = {float(gamma):g}" for gamma in curves], loc="upper left")
    axes[0, 0].set_ylabel("share of the loss")
    return figure


def hardest_figure(plain: Plain) -> Figure:
    """Draw which share of the loss the hardest 1 % of anchors carry, by gamma."""
    figure, axes = new_axes(1, 1, size=(6.4, 3.4))
    place = axes[0, 0]
    names = []
    for position, (group, by_gamma) in enumerate(plain["hardest_1_percent"]["focal_loss"].items()):
        points = [(float(gamma), 100 * share) for gamma, share in by_gamma.items() if share is not None]
        if points:
            place.plot(*zip(*points, strict=True), marker="o", markersize=4, **line_style(position))
            names.append({"all": "all anchors"}.get(group, f"{group} anchors"))
    place.set(ylim=(0, 103), xlabel="γ", ylabel="% of the loss")
    place.axvline(plain["focal"]["gamma"], color=GREY, linewidth=0.8, zorder=0)
    label_ends(place, names)
    return figure


def score_figure(plain: Plain) -> Figure:
    """Draw histograms of p_t of positive, background and ignored anchors, counts on a logarithmic axis."""
    figure, axes = new_axes(3, 1, size=(7.4, 5.6), sharex=True)
    titles = {
        "positive": "positive anchors: score of their class",
        "negative": "background anchors: 1 − highest score",
        "ignored": "ignored anchors: 1 − highest score",
    }
    for position, (place, group) in enumerate(zip(axes[:, 0], titles, strict=True)):
        counts = np.array(plain["scores"][group])
        edges = np.linspace(0.0, 1.0, len(counts) + 1)
        place.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=COLORS[position], linewidth=0)
        place.set_title(f"{titles[group]} ({_count(int(counts.sum()))})")
        place.set(xlim=(0, 1), ylabel="anchors")
        if counts.any():
            place.set_yscale("log")
            place.set_ylim(bottom=0.7)
        else:
            _say_nothing(place)
    axes[-1, 0].set_xlabel("p_t")
    return figure


def positives_figure(plain: Plain) -> Figure:
    """Draw positive anchors by level, with those that are only the best of their object, and by class."""
    table = np.array(plain["positives"])
    low = np.array(plain["low_quality_positives"])
    names, counts = _largest(plain["class_names"], table.sum(axis=0))
    rows = max(len(names), len(low))  # of both, so that bars are equally thick
    height = max(2.6, 0.24 * rows + 1.0)
    figure, axes = new_axes(1, 2, size=(9.0, height))
    by_level, by_class = axes[0]
    good = table.sum(axis=1) - low
    by_level.barh(plain["levels"], good, color=COLORS[2], label="IoU as wanted")
    by_level.barh(plain["levels"], low, left=good, color=COLORS[3], label="best anchor of its object only")
    by_level.set_title("by level of the pyramid")
    by_level.legend(loc="lower right", fontsize=8)
    by_class.barh(names, counts, color=COLORS[0])
    by_class.set_title("by class")
    for place in axes[0]:
        place.set_ylim(rows - 0.4, -0.6)
        place.grid(visible=False, axis="y")
        place.set_xlabel("positive anchors")
    _bar_numbers(by_level, table.sum(axis=1))
    _bar_numbers(by_class, counts)
    return figure


def gradient_figure(plain: Plain) -> Figure:
    """Draw which share of the pull at the shared features each loss has, in all and level by level."""
    rows = ["all levels", *plain["levels"]]
    figure, axes = new_axes(1, 1, size=(7.6, 0.34 * len(rows) + 1.2))
    place = axes[0, 0]
    left = np.zeros(len(rows))
    for name, whole in plain["gradient_shares"].items():
        shares = 100 * np.array([whole, *plain["gradient_shares_by_level"][name]])
        place.barh(rows, shares, left=left, color=_LOSS_COLORS[name], label=f"{name} loss", height=0.7)
        for row, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 8:
                place.text(start + share / 2, row, f"{share:.0f} %", ha="center", va="center", color=_ON_LOSS[name])
        left += shares
    for row, share in enumerate(plain["gradient_of_levels"], start=1):
        text = f"{100 * share:.0f} % of both" if share >= 0.005 else "nearly nothing"
        place.annotate(text, (100, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=GREY)
    place.invert_yaxis()
    place.grid(visible=False, axis="y")
    place.set(xlim=(0, 100), xlabel="% of the gradient norm in the shared features")
    place.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def level_loss_figure(plain: Plain) -> Figure:
    """Draw the model's own two losses by level, over the positives of all images."""
    levels = plain["levels"]
    figure, axes = new_axes(1, 2, size=(9.0, 0.3 * len(levels) + 1.3))
    for place, (name, values) in zip(axes[0], plain["losses_by_level"].items(), strict=True):
        place.barh(levels, values, color=_LOSS_COLORS[name], height=0.7)
        place.invert_yaxis()
        place.grid(visible=False, axis="y")
        place.set_title(f"{name} loss: {sum(values):.4g}")
        place.set_xlabel("loss over all positives")
        _bar_numbers(place, values, form="{:.3g}")
    return figure


def confusion_figure(plain: Plain) -> Figure:
    """Draw the confusion matrix: shares of the true class as colour, counts as numbers where there is room."""
    matrix = np.array(plain["confusion"]["matrix"])
    names = [printable(name) for name in plain["class_names"]]
    size = len(matrix)
    side = min(12.0, max(4.4, 0.42 * size + 2.2))
    figure, axes = new_axes(1, 1, size=(side, side * 0.92))
    place = axes[0, 0]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    color = np.array([int(COLORS[0][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    for row, column in np.argwhere(matrix > 0):
        place.add_patch(_cell(column, row, color, shares[row, column]))
        if size <= 22:
            number = _count(matrix[row, column])
            shade = "white" if shares[row, column] > 0.5 else INK
            place.text(column, row, number, ha="center", va="center", fontsize=8, color=shade)
    font = 8.5 if size <= 30 else 5.0
    place.set_xticks(range(size), [*names, "missed"], rotation=90 if size > 6 else 0, fontsize=font)
    place.set_yticks(range(size), [*names, "background"], fontsize=font)
    place.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="detected as", ylabel="is in truth")
    place.set_aspect("equal")
    place.grid(visible=False)
    for edge in (size - 1.5,):
        place.axhline(edge, color=GREY, linewidth=0.8)
        place.axvline(edge, color=GREY, linewidth=0.8)
    return figure


def mistakes_figure(plain: Plain) -> Figure:
    """Draw what becomes of detections and objects, and precision, recall and F1 against the score threshold."""
    from retina.lab.confusion import KINDS

    figure, axes = new_axes(1, 2, size=(9.4, 3.6))
    bars, curves = axes[0]
    counts = [plain["confusion"]["kinds"].get(kind, 0) for kind in KINDS]
    colors = [COLORS[2], *[COLORS[3]] * (len(KINDS) - 2), COLORS[5]]
    bars.barh(KINDS, counts, color=colors, height=0.7)
    bars.invert_yaxis()
    bars.grid(visible=False, axis="y")
    bars.set_title(f"detections with a score of {plain['confusion']['score_threshold']:g} or more")
    _bar_numbers(bars, counts)
    table = plain["precision_recall"]
    names = ["precision", "recall", "f1"]
    for position, name in enumerate(names):
        values = np.array([np.nan if value is None else value for value in table[name]], dtype=float)
        curves.plot(table["threshold"], values, **line_style(position))
    best = best_threshold(plain)
    title = "no objects"
    if best is not None:
        curves.axvline(best[0], color=GREY, linewidth=0.8)
        title = f"best F1 {best[1]:.2f} at {best[0]:.2f}"
    curves.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score threshold", title=title)
    curves.legend(curves.get_lines()[:3], ["precision", "recall", "F1"], loc="best")
    return figure


def best_threshold(plain: Plain) -> tuple[float, float] | None:
    """Return the score threshold of the highest F1, and that F1; None where there is none."""
    table = plain["precision_recall"]
    known = [(f1, threshold) for threshold, f1 in zip(table["threshold"], table["f1"], strict=True) if f1 is not None]
    if not known:
        return None
    f1, threshold = max(known, key=lambda pair: pair[0])
    return threshold, f1


def _cell(column: int, row: int, color: np.ndarray, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=(*color, 0.08 + 0.92 * share), linewidth=0)


def _largest(names: Sequence[str], counts: np.ndarray) -> tuple[list[str], list[int]]:
    """Return the names and counts of the most frequent classes, and what the others add up to."""
    order = np.argsort(-counts, kind="stable")
    shown = order[:_MAX_BARS]
    # A bar chart joins bars of one name, so two classes whose names look alike are told apart by their number.
    labels = [printable(names[i]) for i in shown]
    labels = [f"{label} #{i}" if labels.count(label) > 1 else label for label, i in zip(labels, shown, strict=True)]
    values = [int(counts[i]) for i in shown]
    if len(order) > _MAX_BARS:
        labels.append(f"{len(order) - _MAX_BARS} others")
        values.append(int(counts[order[_MAX_BARS:]].sum()))
    return labels, values


def _bar_numbers(place: Axes, values: Sequence[float] | np.ndarray, form: str = "{}") -> None:
    """Write the numbers at the ends of horizontal bars."""
    most = max([float(value) for value in values], default=0.0)
    place.set_xlim(0, most * 1.18 or 1.0)
    for row, value in enumerate(values):
        text = _count(int(value)) if form == "{}" else form.format(value)
        place.annotate(text, (float(value), row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)


def _say_nothing(place: Axes) -> None:
    place.text(0.5, 0.5, "none", transform=place.transAxes, ha="center", va="center", color=GREY)


def _count(number: int) -> str:
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f} M"
