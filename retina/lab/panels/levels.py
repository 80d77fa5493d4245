"""Panels of the pyramid's levels: where positive anchors, gradients and losses arise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retina.detection.losses.box_pairs import BoxPairs
from retina.drawing.figures import COLORS, count, draw_bars, new_axes, printable
from retina.lab.look import LOSSES, Earlier, Look, LookedAt, percent
from retina.lab.pyramid import level_of, norm_shares, one_level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_BARS = 30  # classes in a bar chart; the others are added up
_LOSS_COLORS = {"classification": COLORS[0], "box": COLORS[1]}
_ON_LOSS = {"classification": "white", "box": "#1b1b1f"}  # text that reads on these colours


class Positives(Look):
    """Which levels and classes training signal comes from. A level without positives learns boxes of no object; many
    anchors that are only the best of their object mean that sizes and shapes of the anchors do not fit the data
    (anchors=small, anchors.aspect_ratios). A class with few positives is one that γ and alpha cannot help.
    """

    name = "positives"
    title = "Positive anchors"

    def begin(self, earlier: Earlier) -> None:
        self.counts = np.zeros((len(self.subject.levels), len(self.subject.class_names)), dtype=np.int64)
        self.low_quality = np.zeros(len(self.subject.levels), dtype=np.int64)  # only the best anchors of their object

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def add(self, batch: LookedAt) -> None:
        targets, predictions = batch.targets, batch.predictions
        level = level_of(targets.positive_index, predictions.grid_sizes, predictions.logits.shape[1])
        place = (level * self.counts.shape[1] + targets.positive_labels).cpu()
        self.counts += torch.bincount(place, minlength=self.counts.size).view(self.counts.shape).numpy()
        overlap = BoxPairs.of_boxes(targets.positive_anchors, targets.positive_boxes).iou
        poor = level[overlap < self.subject.positive_iou].cpu()
        self.low_quality += torch.bincount(poor, minlength=len(self.low_quality)).numpy()

    def record(self) -> dict[str, Any]:
        return {"positives": self.counts.tolist(), "low_quality_positives": self.low_quality.tolist()}

    def numbers(self) -> dict[str, float | None]:
        numbers = _by_level("positives", self.subject.levels, self.counts.sum(axis=1))
        return {"low_quality_positives": self._low_quality_share, **numbers}

    def glance(self) -> list[tuple[str, str]]:
        return [("positives that are only the best anchor of their object", percent(self._low_quality_share))]

    def figure(self) -> Figure:
        by_level, low = self.counts.sum(axis=1), self.low_quality
        parts = {"IoU as wanted": (by_level - low, COLORS[2]), "best anchor of its object only": (low, COLORS[3])}
        names, counts = _largest(self.subject.class_names, self.counts.sum(axis=0))
        rows = max(len(names), len(low))  # of both, so that bars are equally thick
        figure, axes = new_axes(1, 2, size=(9.0, max(2.6, 0.24 * rows + 1.0)))
        draw_bars(axes[0, 0], self.subject.levels, parts, list(map(count, by_level)))
        draw_bars(axes[0, 1], names, {"positive anchors": (counts, COLORS[0])}, list(map(count, counts)))
        for place, title in zip(axes[0], ("by level of the pyramid", "by class"), strict=True):
            place.set(ylim=(rows - 0.4, -0.6), xlabel="positive anchors", title=title)
        axes[0, 0].legend(loc="lower right", fontsize=8)
        return figure

    @property
    def _low_quality_share(self) -> float | None:
        return float(self.low_quality.sum()) / self.total if self.total else None


class GradientShares(Look):
    """How hard each loss pulls at the features that both subnets share: the norm of the gradient of each loss in the
    outputs of the pyramid, as shares; at the right, which part of both (of the squared norm) a level has. Far from
    even, one task is learned and the other is carried along: change loss.box.weight.
    """

    name = "gradient_shares"
    title = "Pull of the two losses"

    def begin(self, earlier: Earlier) -> None:
        self.squares = {name: np.zeros(len(self.subject.levels)) for name in LOSSES}

    def add(self, batch: LookedAt) -> None:
        for name, squares in batch.gradient_squares.items():
            self.squares[name] += squares

    def shares(self) -> dict[str, float]:
        """Return which share of the pull each loss has: of sum 1, by their gradients' norms."""
        return dict(zip(LOSSES, norm_shares([float(self.squares[name].sum()) for name in LOSSES]), strict=True))

    def shares_by_level(self) -> dict[str, list[float]]:
        """Return the same for every level alone."""
        squares = zip(*(self.squares[name].tolist() for name in LOSSES), strict=True)
        return dict(zip(LOSSES, map(list, zip(*map(norm_shares, squares), strict=True)), strict=True))

    def of_levels(self) -> list[float]:
        """Return which share of the squared norm of both gradients each level has, of sum 1 unless both are 0."""
        squares = np.sum([self.squares[name] for name in LOSSES], axis=0)
        return (squares / (squares.sum() or 1.0)).tolist()

    def record(self) -> dict[str, Any]:
        return {
            "gradient_shares": self.shares(),
            "gradient_shares_by_level": self.shares_by_level(),
            "gradient_of_levels": self.of_levels(),
        }

    def numbers(self) -> dict[str, float | None]:
        return {f"gradient_share_{name}": share for name, share in self.shares().items()}

    def glance(self) -> list[tuple[str, str]]:
        shares = ", ".join(f"{name} {percent(share)}" for name, share in self.shares().items())
        return [("share of the pull at the shared features", shares)]

    def figure(self) -> Figure:
        rows, by_level = ["all levels", *self.subject.levels], self.shares_by_level()
        percents = {name: 100 * np.array([whole, *by_level[name]]) for name, whole in self.shares().items()}
        parts = {f"{name} loss": (percents[name], _LOSS_COLORS[name]) for name in LOSSES}
        ends = [f"{100 * share:.0f} % of both" if share >= 0.005 else "nearly nothing" for share in self.of_levels()]
        figure, axes = new_axes(1, 1, size=(7.6, 0.34 * len(rows) + 1.2))
        place = axes[0, 0]
        draw_bars(place, rows, parts, ["", *ends])
        for name, bars in zip(LOSSES, place.containers, strict=True):
            inside = [f"{share:.0f} %" if share >= 8 else "" for share in percents[name]]
            place.bar_label(bars, inside, label_type="center", color=_ON_LOSS[name])
        place.set(xlim=(0, 100), xlabel="% of the gradient norm in the shared features")
        place.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        return figure


class LevelLosses(Look):
    """Where the two losses of this model arise; over all positives of all levels, so that levels add up to the loss of
    the log (unless the loss normalises itself). A level with a large loss and few positives is mostly false alarms.
    """

    name = "level_losses"
    title = "Loss by level"

    def begin(self, earlier: Earlier) -> None:
        self.positives = earlier[Positives]
        self.sums = {name: np.zeros(len(self.subject.levels)) for name in LOSSES}

    def add(self, batch: LookedAt) -> None:
        for level in range(len(batch.predictions.grid_sizes)):
            for name, loss in self.subject.criterion(*one_level(batch.predictions, batch.targets, level)).items():
                self.sums[name][level] += float(loss)

    def losses(self) -> dict[str, np.ndarray]:
        """Return ``(L,)`` losses by name."""
        return {name: sums / max(self.positives.total, 1) for name, sums in self.sums.items()}

    def record(self) -> dict[str, Any]:
        return {"losses_by_level": {name: values.tolist() for name, values in self.losses().items()}}

    def numbers(self) -> dict[str, float | None]:
        by_level = [_by_level(name, self.subject.levels, values) for name, values in self.losses().items()]
        return {name: value for each in by_level for name, value in each.items()}

    def figure(self) -> Figure:
        levels = self.subject.levels
        figure, axes = new_axes(1, 2, size=(9.0, 0.3 * len(levels) + 1.3))
        for place, (name, values) in zip(axes[0], self.losses().items(), strict=True):
            draw_bars(place, levels, {name: (values, _LOSS_COLORS[name])}, [f"{value:.3g}" for value in values])
            place.set(title=f"{name} loss: {sum(values):.4g}", xlabel="loss over all positives")
        return figure


def _by_level(name: str, levels: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {f"{name}_{level.lstrip('/')}": float(value) for level, value in zip(levels, values, strict=True)}


def _largest(names: Sequence[str], counts: np.ndarray) -> tuple[list[str], list[int]]:
    """Return the names and counts of the most frequent classes, and what the others add up to."""
    order = np.argsort(-counts, kind="stable")
    shown, others = order[:_MAX_BARS], order[_MAX_BARS:]
    # A bar chart joins bars of one name, so two classes whose names look alike are told apart by their number.
    labels = [printable(names[i]) for i in shown]
    labels = [f"{label} #{i}" if labels.count(label) > 1 else label for label, i in zip(labels, shown, strict=True)]
    if len(others):
        return [*labels, f"{len(others)} others"], [*counts[shown].tolist(), int(counts[others].sum())]
    return labels, counts[shown].tolist()
