"""Panels of the losses themselves: curves of what a loss does to one score or to one box, and how to read them.

Every setting that a panel varies is one that a loss itself has. A panel is one class, listed in :data:`CLASS_PANELS` or
:data:`BOX_PANELS`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.drawing.figures import GREY, line_style, new_axes
from retina.lab.box_curves import MAX_SCALE, box_curves, pairs_at
from retina.lab.class_curves import easy_density, even_density, score_curve, set_density
from retina.lab.look import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Mapping[str, Any]]  # by name: x, loss, gradient

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)  # Source: Lin et al. 2017, Focal Loss for Dense Object Detection, figure 1
SIDES = {"positive": "anchor with an object", "background": "background anchor"}
WAYS = {"shift": "shift along x, in box sides", "scale": "both sides times"}
P_T = "p_t, probability of what is true"
_FOCUS = ("gamma", "beta")  # what losses call the exponent that focuses; the first that a loss has
_FLOOR = 1e-4  # of logarithmic axes; below, a loss is nothing


@dataclass(frozen=True)
class LossFamily:
    """A loss that can be built with other settings than those of its file."""

    name: str
    settings: Mapping[str, Any]
    build: Callable[..., Any]  # takes changed settings by name

    @property
    def focus(self) -> str | None:
        """Return the name of the exponent that focuses, None where the loss has none."""
        return next((name for name in _FOCUS if name in self.settings), None)


class CurvePanel(Panel):
    """A panel of some losses: their curves as plain values, and a figure of them where there are any."""

    key: ClassVar[str]  # of its curves in the file of numbers

    def __init__(self, families: Sequence[LossFamily]) -> None:
        """Compute the curves of those of ``families`` that the panel is about; there may be none."""
        self.curves = self.compute(families)

    @abstractmethod
    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        """Return the curves as plain values."""


class FocalByGamma(CurvePanel):
    """Each line is the loss of one score by the probability p_t that it gives to what is true, without alpha; it is the
    same for objects and for background. γ = 0 is cross-entropy. The larger γ, the flatter the loss of scores that are
    right already (shaded): a hundred thousand easy background anchors then cost less than a few hard ones. The
    logarithmic twin shows by how much: at p_t = 0.9 the loss of γ = 2 is a hundredth. (Lin et al. 2017, figure 1.)
    """

    name, key = "focal", "focal"
    title = "Focal loss by γ"

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        return {
            str(gamma): _curve(family.build(alpha=1.0, gamma=gamma), f"γ = {gamma:g}", positive=True)
            for family in families
            if family.name == "focal"
            for gamma in GAMMAS
        }

    def figure(self) -> Figure:
        figure, axes = new_axes(1, 2, size=(9.0, 3.9))
        for place, log in zip(axes[0], (False, True), strict=True):
            _draw(place, self.curves, "loss", log=log)
            place.set_xlabel(P_T)
            place.set_title("logarithmic" if log else "loss")
        axes[0, 0].set_ylim(0.0, 5.0)
        axes[0, 0].axvspan(0.6, 1.0, color=GREY, alpha=0.12, linewidth=0)
        axes[0, 0].text(0.8, 4.75, "well-classified", ha="center", va="top", fontsize=8.5, color=GREY)
        axes[0, 1].legend(axes[0, 1].get_lines(), [curve["name"] for curve in self.curves.values()], loc="lower left")
        return figure


class EveryClassification(CurvePanel):
    """Every loss as its file in configs/loss/classification sets it, alpha included, for an anchor with an object
    (left) and for background (right); below, the size of the slope in the logit, which is what moves the network. Read
    across: the distance between the two columns at the same p_t is the weight of objects against background. Lines in
    two colours lie on each other. Losses that look at the box take an IoU of 1, those that count how common a score is
    a density of 90 % easy and 1 % hard scores, those that normalise themselves a batch of this one score.
    """

    name, key = "classification", "classification"
    title = "Every classification loss"

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        def curve(family: LossFamily, side: str) -> dict[str, Any]:
            return _curve(family.build(), family.name, positive=side == "positive", density=easy_density)

        return {side: {family.name: curve(family, side) for family in families} for side in SIDES}

    def figure(self) -> Figure:
        figure, axes = new_axes(2, 2, size=(9.6, 6.4), sharex=True, sharey="row")
        for column, (side, curves) in enumerate(self.curves.items()):
            for row, what in enumerate(("loss", "gradient")):
                _draw(axes[row, column], curves, what, log=True)
            axes[0, column].set_title(SIDES[side])
            axes[1, column].set_xlabel(P_T)
        axes[0, 0].set_ylabel("loss")
        axes[1, 0].set_ylabel("size of the slope in the logit")
        names = list(self.curves["positive"])
        figure.legend(axes[0, 0].get_lines(), names, loc="outside right upper", fontsize=8.5)
        return figure


class Focus(CurvePanel):
    """The same, for several values of the exponent (gamma, or beta of the quality focal loss), all else as in its file.
    Where the lines of one side lie on each other the exponent does not touch that side: the varifocal loss focuses
    background only.
    """

    name, key = "focus", "focus"
    title = "The exponent that focuses"

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        def curves(family: LossFamily, focus: str, side: str) -> dict[str, Any]:
            built = {value: family.build(**{focus: value}) for value in GAMMAS}
            return {
                str(value): _curve(loss, f"{value:g}", positive=side == "positive") for value, loss in built.items()
            }

        return {
            family.name: {side: curves(family, focus, side) for side in SIDES}
            for family in families
            if (focus := family.focus)
        }

    def figure(self) -> Figure:
        rows = -(-len(self.curves) // 2)
        figure, axes = new_axes(rows, 4, size=(10.4, 2.3 * rows + 0.4), sharex=True, sharey=True)
        plots = [(name, side, curves) for name, sides in self.curves.items() for side, curves in sides.items()]
        for place, (name, side, curves) in zip(axes.flat, plots, strict=False):
            _draw(place, curves, "loss", log=True)
            place.set_title(f"{name}:\n{SIDES[side]}", fontsize=8.5)
        for place in axes.flat[len(plots) :]:
            place.set_axis_off()
        for place in axes[:, 0]:
            place.set_ylabel("loss")
        for place in axes[-1]:
            place.set_xlabel("p_t")
        names = [f"{float(value):g}" for value in plots[0][2]]
        figure.legend(axes[0, 0].get_lines(), names, title="exponent", loc="outside right upper")
        return figure


class ContextPanel(CurvePanel):
    """Losses that look at more than the score, for several values of it: one row a loss."""

    label: ClassVar[str] = P_T

    @abstractmethod
    def vary(self, family: LossFamily) -> dict[str, Any]:
        """Return the curves of ``family`` by the value that is varied; empty where the loss does not look at it."""

    def compute(self, families: Sequence[LossFamily]) -> dict[str, Any]:
        return {family.name: curves for family in families if (curves := self.vary(family))}

    def figure(self) -> Figure:
        figure, axes = new_axes(len(self.curves), 2, size=(9.6, 2.6 * len(self.curves) + 0.3), sharex=True)
        for row, (name, curves) in enumerate(self.curves.items()):
            for place, what in zip(axes[row], ("loss", "gradient"), strict=True):
                _draw(place, curves, what, log=True)
                place.set_title(f"{name}: {'loss' if what == 'loss' else 'size of the slope in the logit'}")
        for place in axes[-1]:
            place.set_xlabel(self.label)
        names = [curve["name"] for curve in next(iter(self.curves.values())).values()]
        figure.legend(axes[0, 0].get_lines(), names, loc="outside right upper")
        return figure


class IouAware(ContextPanel):
    """Losses whose target is the overlap of the predicted box instead of 1. The score that costs least, where the slope
    is zero, is the IoU for the quality focal loss and for the varifocal loss alike; a line that falls all the way to
    the right belongs to a box without fault. An IoU of 0 makes the anchor background.
    """

    name, key, label = "iou_aware", "iou", "score of the anchor's class"
    title = "Scores that learn the overlap"

    def vary(self, family: LossFamily) -> dict[str, Any]:
        ious = (0.0, 0.25, 0.5, 0.75, 1.0) if family.build().needs_iou else ()
        return {str(iou): asdict(score_curve(family.build(), f"IoU {iou:g}", positive=True, iou=iou)) for iou in ious}


class Heat(ContextPanel):
    """Background near the centre of an object costs less, by (1 − heat) to the power beta: an anchor beside the best
    one may score as well.
    """

    name, key = "heat", "heat"
    title = "Background that fades in"

    def vary(self, family: LossFamily) -> dict[str, Any]:
        heats = (0.0, 0.25, 0.5, 0.75) if family.build().needs_heat else ()
        return {str(h): asdict(score_curve(family.build(), f"heat {h:g}", positive=False, heat=h)) for h in heats}


class Density(ContextPanel):
    """A score's loss over how common its size of gradient is. With an even density it is cross-entropy; where 90 % of
    the scores are easy and 1 % very hard, both ends are held down and the middle counts most. The steps are the bins.
    """

    name, key = "density", "density"
    title = "Gradient density"

    def vary(self, family: LossFamily) -> dict[str, Any]:
        if not hasattr(family.build(), "bin_counts"):
            return {}
        densities = {"even density": even_density, "mostly easy": easy_density}
        return {
            name: _curve(family.build(), name, positive=True, density=density) for name, density in densities.items()
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
        found = {}
        for family in families:
            loss = family.build()
            if kind_of(loss) == self.key:
                if hasattr(loss, "bin_counts"):
                    set_density(loss, even_density(len(loss.bin_counts)), per_batch=4)
                found[family.name] = {way: asdict(curve) for way, curve in box_curves(loss, family.name).items()}
        return found

    def figure(self) -> Figure:
        figure, axes = new_axes(2, 3, size=(10.4, 6.0), sharex="col", sharey="row")
        for row, what in enumerate(("loss", "gradient")):
            for position, curves in enumerate(self.curves.values()):
                for place, way in zip(axes[row], WAYS, strict=False):
                    place.plot(curves[way]["x"], curves[way][what], **line_style(position))
                beyond = (np.array(curves["shift"]["x"]) > 0) & (np.array(curves["shift"]["iou"]) > 0)
                overlap = [np.array(curves["shift"][name])[beyond] for name in ("iou", what)]
                axes[row, 2].plot(*overlap, **line_style(position))
        for place, text in zip(axes[1], [*WAYS.values(), "IoU (boxes shifted along x)"], strict=True):
            place.set_xlabel(text)
        axes[1, 1].set_xscale("log", base=2)
        axes[1, 1].set_xticks([1 / MAX_SCALE, 0.5, 1.0, 2.0, MAX_SCALE], ["1/4", "1/2", "1", "2", "4"])
        axes[1, 1].minorticks_off()
        axes[1, 1].set_xlim(1 / MAX_SCALE, MAX_SCALE)
        axes[0, 0].set_ylabel("loss, with its weight")
        axes[1, 0].set_ylabel("norm of the gradient in the box codes")
        for place in axes[:, 0]:
            # Nearly all of every line: one steep loss would flatten the others.
            limits = [float(np.quantile(np.asarray(line.get_ydata()), 0.9)) for line in place.get_lines()]
            place.set_ylim(0.0, 1.05 * max(limits))
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
    pairs = pairs_at(torch.zeros(1, 4, dtype=torch.float64))
    loss.eval()(pairs)
    return "overlaps" if "boxes" in vars(pairs) else "codes"


def _curve(
    loss: Any, name: str, *, positive: bool, density: Callable[[int], list[float]] | None = None
) -> dict[str, Any]:
    """Return the curve of ``loss`` as plain values; where it counts a density, with that one."""
    if density is not None and hasattr(loss, "bin_counts"):
        set_density(loss, density(len(loss.bin_counts)), per_batch=1)
    return asdict(score_curve(loss, name, positive=positive))


def _draw(place: Axes, curves: Curves, what: str, *, log: bool) -> None:
    for position, curve in enumerate(curves.values()):
        place.plot(curve["x"], curve[what], **line_style(position))
    place.set_xlim(0.0, 1.0)
    if not log:
        place.set_ylim(bottom=0.0)
        return
    highest = max((np.max(line.get_ydata()) for line in place.get_lines()), default=1.0)
    place.set_yscale("log")
    place.set_ylim(_FLOOR, max(place.get_ylim()[1], highest * 1.5))
