"""Panels of the detections: which class is taken for which, and what kind of mistake each detection is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from retina.drawing.figures import COLORS, GREY, INK, count, draw_bars, new_axes, printable
from retina.drawing.pages import PageTable
from retina.lab.confusion import KINDS, Confusion
from retina.lab.look import Earlier, Look, LookedAt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ConfusionMatrix(Look):
    """Rows are true classes, columns what was detected with IoU 0.5 or more; the colour is the share of the row, the
    number counts. Right column: objects that nothing found. Bottom row: detections where there is no object, or one
    that was found already. An object goes to a detection of its own class first; detections inside crowd regions are
    left out. Good is a strong diagonal, and a faint last row and last column.
    """

    name = "confusion"
    title = "Confusion matrix"

    def begin(self, earlier: Earlier) -> None:
        self.confusion = Confusion(len(self.subject.class_names), self.subject.score_threshold)

    def add(self, batch: LookedAt) -> None:
        for found, truth in zip(batch.detected, batch.truth, strict=True):
            self.confusion.add(found, truth)

    def most_confused(self) -> list[tuple[str, str, int]]:
        """Return pairs of classes and how many objects of the first were taken for the second, most first."""
        names = self.subject.class_names
        return [(names[true], names[predicted], number) for true, predicted, number in self.confusion.most_confused()]

    def record(self) -> dict[str, Any]:
        confusion = {
            "score_threshold": self.confusion.score_threshold,
            "matrix": self.confusion.matrix.tolist(),
            "kinds": dict(self.confusion.kinds),
            "in_crowds": self.confusion.in_crowds,
            "most_confused": list(map(list, self.most_confused())),
        }
        return {"confusion": confusion}

    def glance(self) -> list[tuple[str, str]]:
        return [("detections inside crowd regions, left out", f"{self.confusion.in_crowds:,}")]

    def tables(self) -> list[PageTable]:
        rows: list[tuple[Any, ...]] = [(true, found, f"{number:,}") for true, found, number in self.most_confused()]
        return [PageTable("Most confused classes", ("in truth", "detected as", "objects"), rows)] if rows else []

    def figure(self) -> Figure:
        from matplotlib.patches import Rectangle

        matrix = self.confusion.matrix
        names, size = list(map(printable, self.subject.class_names)), len(matrix)
        side = min(12.0, max(4.4, 0.42 * size + 2.2))
        figure, axes = new_axes(1, 1, size=(side, side * 0.92))
        place = axes[0, 0]
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        for row, column in np.argwhere(matrix > 0):
            color = (COLORS[0], 0.08 + 0.92 * shares[row, column])
            place.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, linewidth=0))
            if size <= 22:
                shade = "white" if shares[row, column] > 0.5 else INK
                place.text(column, row, count(matrix[row, column]), ha="center", va="center", fontsize=8, color=shade)
        font = 8.5 if size <= 30 else 5.0
        place.set_xticks(range(size), [*names, "missed"], rotation=90 if size > 6 else 0, fontsize=font)
        place.set_yticks(range(size), [*names, "background"], fontsize=font)
        limits = {"xlim": (-0.5, size - 0.5), "ylim": (size - 0.5, -0.5), "aspect": "equal"}
        place.set(xlabel="detected as", ylabel="is in truth", **limits)
        place.grid(visible=False)
        place.axhline(size - 1.5, color=GREY, linewidth=0.8)
        place.axvline(size - 1.5, color=GREY, linewidth=0.8)
        return figure


class Mistakes(Look):
    """What each detection is (kinds of TIDE, Bolya et al. 2020): poorly placed has an IoU of 0.1 to 0.5 with its
    object, a duplicate finds what a stronger one has found, background overlaps nothing. Right: all classes together at
    IoU 0.5; the upright line is the threshold with the best F1, which suits pictures and counting, never AP.
    """

    name = "mistakes"
    title = "Kinds of mistakes"

    def begin(self, earlier: Earlier) -> None:
        self.confusion = earlier[ConfusionMatrix].confusion

    def record(self) -> dict[str, Any]:
        return {"precision_recall": self.confusion.precision_recall()}

    def glance(self) -> list[tuple[str, str]]:
        best = best_threshold(self.confusion.precision_recall())
        return [("score threshold of the best F1", "-" if best is None else f"{best[0]:.2f} (F1 {best[1]:.3f})")]

    def figure(self) -> Figure:
        figure, axes = new_axes(1, 2, size=(9.4, 3.6))
        bars, curves = axes[0]
        counts = [self.confusion.kinds.get(kind, 0) for kind in KINDS]
        colors = [COLORS[2], *[COLORS[3]] * (len(KINDS) - 2), COLORS[5]]
        draw_bars(bars, KINDS, {"detections": (counts, colors)}, list(map(count, counts)))
        bars.set_title(f"detections with a score of {self.confusion.score_threshold:g} or more")
        table = self.confusion.precision_recall()
        for name, label in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
            curves.plot(table["threshold"], np.array(table[name], dtype=float), label=label)  # None becomes a gap
        curves.legend(loc="best")
        best, title = best_threshold(table), "no objects"
        if best is not None:
            curves.axvline(best[0], color=GREY, linewidth=0.8)
            title = f"best F1 {best[1]:.2f} at {best[0]:.2f}"
        curves.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score threshold", title=title)
        return figure


def best_threshold(table: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the score threshold of the highest F1 of a table of precision and recall, and that F1."""
    known = [(f1, threshold) for threshold, f1 in zip(table["threshold"], table["f1"], strict=True) if f1 is not None]
    return max(known, key=lambda pair: pair[0])[::-1] if known else None
