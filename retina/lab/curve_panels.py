"""Panels of the losses themselves: curves of what a loss does to one score or to one box, and how to read them.

Every setting that a panel varies is one that a loss itself has. A panel is one class, listed at the end.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.drawing.figures import GREY, new_axes
from retina.lab import curves
from retina.lab.curves import Curve, easy_density, even_density, score_curve
from retina.lab.look import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)  # Source: Lin et al. 2017, Focal Loss for Dense Object Detection, figure 1
SIDES = {"positive": "anchor with an object", "background": "background anchor"}
WHAT = {"loss": "loss", "gradient": "size of the slope in the logit"}
_FOCUS = ("gamma", "beta")  # what losses call the exponent that focuses; the first that a loss has
_FLOOR = 1e-4  # of logarithmic axes; below, a loss is nothing

Plots = list[tuple[str, Mapping[str, Curve], str]]


@dataclass(frozen=True)
class LossFamily:
    """A loss that can be built with other settings than those of its file."""

    name: str
    settings: Mapping[str, Any]
    build: Callable[..., Any]  # takes changed settings by name


class CurvePanel(Panel):
    """A panel of some losses: their curves as plain values, and a figure of them where there are any."""

    key: ClassVar[str]  # of its curves in the file of numbers

    def __init__(self, families: Sequence[LossFamily]) -> None:
        """Compute the curves of those of ``families`` that the panel is about; there may be none."""
        self.curves = self.compute(families)

    @abstractmethod
    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        """Return the curves as plain values."""


class ScorePanel(CurvePanel):
    """Plots over the score of an anchor, all with the same lines, on logarithmic axes; of what varies, a row a loss."""

    columns: ClassVar[int] = 2
    share_y: ClassVar[bool | str] = False
    label: ClassVar[str] = "p_t, probability of what is true"
    legend: ClassVar[str] = ""

    def _vary(self, family: LossFamily) -> dict[str, Any]:
        """Return the curves of ``family`` by what is varied; empty where it does not look at that."""
        return {}

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        return {family.name: found for family in families if (found := self._vary(family))}

    def _plots(self) -> Plots:
        """Return the title of each plot, its curves and which of their values it shows, row by row."""
        return [(f"{name}: {WHAT[what]}", found, what) for name, found in self.curves.items() for what in WHAT]

    def figure(self) -> Figure:
        plots = self._plots()
        rows = -(-len(plots) // self.columns)
        size = (10.0, max(3.8, 2.5 * rows + 0.4))
        figure, axes = new_axes(rows, self.columns, size=size, sharex=True, sharey=self.share_y)
        for place, (title, found, what) in zip(axes.flat, plots, strict=False):
            for curve in found.values():
                place.plot(curve["x"], curve[what])
            highest = max(max(curve[what]) for curve in found.values())
            place.set(xlim=(0.0, 1.0), yscale="log")
            place.set_ylim(_FLOOR, max(place.get_ylim()[1], highest * 1.5))
            place.set_title(title, fontsize=8.5)
        for place in axes.flat[len(plots) :]:
            place.set_axis_off()
        for place in axes[-1]:
            place.set_xlabel(self.label)
        names = [curve["name"] for curve in plots[0][1].values()]
        lines = axes[0, 0].get_lines()
        figure.legend(lines, names, title=self.legend, loc="outside right upper", fontsize=8.5)
        return figure


class FocalByGamma(ScorePanel):
    """Each line is the loss of one score by the probability p_t that it gives to what is true, without alpha; it is the
    same for objects and for background. γ = 0 is cross-entropy. The larger γ, the flatter the loss of scores that are
    right already (shaded): many easy background anchors then cost less than a few hard ones. The logarithmic twin shows
    by how much: at p_t = 0.9 the loss of γ = 2 is a hundredth. (Lin et al. 2017, figure 1.)
    """

    name, key = "focal", "focal"
    title = "Focal loss by γ"

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        return {
            str(gamma): score_curve(family.build(alpha=1.0, gamma=gamma), f"γ = {gamma:g}", positive=True)
            for family in families
            if family.name == "focal"
            for gamma in GAMMAS
        }

    def _plots(self) -> Plots:
        return [("loss", self.curves, "loss"), ("logarithmic", self.curves, "loss")]

    def figure(self) -> Figure:
        figure = super().figure()
        place = figure.axes[0]
        place.set(yscale="linear", ylim=(0.0, 5.0))
        place.axvspan(0.6, 1.0, color=GREY, alpha=0.12, linewidth=0)
        place.text(0.8, 4.75, "well-classified", ha="center", va="top", fontsize=8.5, color=GREY)
        return figure


class EveryClassification(ScorePanel):
    """Every loss as its file in configs/loss/classification sets it, alpha included; below, the size of the slope in
    the logit, which is what moves the network. Read across: the distance between the two columns at the same p_t is the
    weight of objects against background. Lines in two colours lie on each other. Losses that look at the box take an
    IoU of 1, those that count how common a score is a density of 90 % easy and 1 % hard scores, those that normalise
    themselves a batch of this one score.
    """

    name, key = "classification", "classification"
    title = "Every classification loss"
    share_y = "row"

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        def curve(family: LossFamily, side: str) -> Curve:
            return score_curve(_with_density(family.build(), easy_density), family.name, positive=side == "positive")

        return {side: {family.name: curve(family, side) for family in families} for side in SIDES}

    def _plots(self) -> Plots:
        return [(f"{SIDES[side]}: {WHAT[what]}", self.curves[side], what) for what in WHAT for side in SIDES]


class Focus(ScorePanel):
    """The same, for several values of the exponent (gamma, or beta of the quality focal loss), all else as in its file.
    Where the lines of one side lie on each other the exponent does not touch that side: the varifocal loss focuses
    background only.
    """

    name, key = "focus", "focus"
    title = "The exponent that focuses"
    columns, share_y, label, legend = 4, True, "p_t", "exponent"

    def _vary(self, family: LossFamily) -> dict[str, Any]:
        focus = [name for name in _FOCUS if name in family.settings][:1]
        losses = {value: family.build(**{name: value}) for name in focus for value in GAMMAS}

        def side_of(positive: bool) -> dict[str, Curve]:
            return {str(value): score_curve(loss, f"{value:g}", positive=positive) for value, loss in losses.items()}

        return {side: side_of(side == "positive") for side in SIDES} if losses else {}

    def _plots(self) -> Plots:
        sides = [(name, side, found) for name, both in self.curves.items() for side, found in both.items()]
        return [(f"{name}:\n{SIDES[side]}", found, "loss") for name, side, found in sides]


class IouAware(ScorePanel):
    """Losses whose target is the overlap of the predicted box instead of 1. The score that costs least, where the slope
    is zero, is the IoU for the quality focal loss and for the varifocal loss alike; a line that falls all the way to
    the right belongs to a box without fault. An IoU of 0 makes the anchor background.
    """

    name, key, label = "iou_aware", "iou", "score of the anchor's class"
    title = "Scores that learn the overlap"

    def _vary(self, family: LossFamily) -> dict[str, Any]:
        ious = (0.0, 0.25, 0.5, 0.75, 1.0) if family.build().needs_iou else ()
        return {str(iou): score_curve(family.build(), f"IoU {iou:g}", positive=True, iou=iou) for iou in ious}


class Heat(ScorePanel):
    """Background near the centre of an object costs less, by (1 − heat) to the power beta: an anchor beside the best
    one may score as well.
    """

    name, key = "heat", "heat"
    title = "Background that fades in"

    def _vary(self, family: LossFamily) -> dict[str, Any]:
        heats = (0.0, 0.25, 0.5, 0.75) if family.build().needs_heat else ()
        return {str(heat): score_curve(family.build(), f"heat {heat:g}", positive=False, heat=heat) for heat in heats}


class Density(ScorePanel):
    """A score's loss over how common its size of gradient is. With an even density it is cross-entropy; where 90 % of
    the scores are easy and 1 % very hard, both ends are held down and the middle counts most. The steps are the bins.
    """

    name, key = "density", "density"
    title = "Gradient density"

    def _vary(self, family: LossFamily) -> dict[str, Any]:
        densities = {"even density": even_density, "mostly easy": easy_density}
        return {
            name: score_curve(_with_density(family.build(), density), name, positive=True)
            for name, density in densities.items()
            if hasattr(family.build(), "bin_counts")
        }


class BoxPanel(CurvePanel):
    """Box losses of one kind, its ``key``: loss above, gradient below, against shift, scale and IoU."""

    _HOW = (
        " Top: the loss with its weight. Bottom: the norm of its gradient in the four box codes, in which all losses "
        "are comparable. The true box is 100 pixels wide and is also the anchor. Where the gradient is 0 a box learns "
        "nothing; where it does not fall towards the true box the box keeps trembling around it."
    )

    @property
    def caption(self) -> str:
        return super().caption + self._HOW

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        losses = {family.name: family.build() for family in families}
        return {
            name: curves.box_curves(_with_density(loss, even_density, per_batch=4), name)
            for name, loss in losses.items()
            if kind_of(loss) == self.key
        }

    def figure(self) -> Figure:
        figure, axes = new_axes(2, 3, size=(10.4, 6.0), sharex="col", sharey="row")
        for row, what in zip(axes, ("loss", "gradient"), strict=True):
            for found in self.curves.values():
                for place, way in zip(row, ("shift", "scale"), strict=False):
                    place.plot(found[way]["x"], found[way][what])
                shift = {name: np.array(values) for name, values in found["shift"].items()}
                beyond = (shift["x"] > 0) & (shift["iou"] > 0)
                row[2].plot(shift["iou"][beyond], shift[what][beyond])
            # Nearly all of every line: one steep loss would flatten the others.
            limits = [float(np.quantile(np.asarray(line.get_ydata()), 0.9)) for line in row[0].get_lines()]
            row[0].set_ylim(0.0, 1.05 * max(limits))
        labels = ("shift along x, in box sides", "both sides times", "IoU (boxes shifted along x)")
        for place, text in zip(axes[1], labels, strict=True):
            place.set_xlabel(text)
        axes[1, 1].set_xscale("log", base=2)
        axes[1, 1].set_xticks([0.25, 0.5, 1.0, 2.0, 4.0], ["1/4", "1/2", "1", "2", "4"], minor=False)
        axes[1, 1].minorticks_off()
        axes[0, 0].set_ylabel("loss, with its weight")
        axes[1, 0].set_ylabel("norm of the gradient in the box codes")
        figure.legend(axes[0, 0].get_lines(), list(self.curves), loc="outside right upper", fontsize=8.5)
        return figure


class BoxCodes(BoxPanel):
    """Losses of the box codes see nothing of the overlap: they grow for ever with the distance, and a small box counts
    like a large one.
    """

    name, key = "box_codes", "codes"
    title = "Box losses: codes"


class BoxOverlaps(BoxPanel):
    """Losses of the decoded boxes. IoU and its powers are flat once the boxes are apart (|shift| above 1): giou, diou
    and their kin still pull there. Steep near the true box means precise boxes late in training.
    """

    name, key = "box_overlaps", "overlaps"
    title = "Box losses: overlaps"


class BoxSums(BoxPanel):
    """Weighted sums: far away the codes pull, near the true box the overlap refines."""

    name, key = "box_sums", "sums"
    title = "Box losses: sums"


CLASS_PANELS: tuple[type[CurvePanel], ...] = (FocalByGamma, EveryClassification, Focus, IouAware, Heat, Density)
BOX_PANELS: tuple[type[CurvePanel], ...] = (BoxCodes, BoxOverlaps, BoxSums)


def kind_of(loss: BoxLoss) -> str:
    """Return which kind a box loss is of, ``codes``, ``overlaps`` or ``sums``: by what it asks a pair for."""
    if isinstance(loss, BoxLossSum):
        return "sums"
    pairs = curves.pairs_at(torch.zeros(1, 4, dtype=torch.float64))
    loss.eval()(pairs)
    return "overlaps" if "boxes" in vars(pairs) else "codes"


def _with_density(loss: Any, density: Callable[[int], list[float]], *, per_batch: int = 1) -> Any:
    """Return ``loss``; where it counts a density, with that one."""
    if hasattr(loss, "bin_counts"):
        curves.set_density(loss, density(len(loss.bin_counts)), per_batch=per_batch)
    return loss
