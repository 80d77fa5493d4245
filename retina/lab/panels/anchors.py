"""Panels of the anchors: which of them carry the loss, and what scores they have."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retina.drawing.figures import COLORS, GREY, count, new_axes, say_none
from retina.drawing.pages import PageTable
from retina.lab.anchor_losses import FocalSettings, LossHistogram, anchor_focal_losses, anchor_scores
from retina.lab.look import Earlier, Look, LookedAt, percent
from retina.training.tensorboard import TallyHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORE_BINS = 50  # of p_t, from 0 to 1
HARDEST = 0.01  # share of the anchors that the shares of the loss are told of


class CumulativeLoss(Look):
    """Anchors sorted from easy to hard; the line is the share of the whole loss that they carry together. The diagonal
    would be the same loss for all. For negatives the line should hug the bottom and jump at the right: then the loss
    comes from the few that are hard. γ changes positives little and negatives much. The thick line is this model's own
    γ (Lin et al. 2017, figure 4; the loss of an anchor is the sum over its classes).
    """

    name = "cumulative_loss"
    title = "Which anchors carry the loss"

    def begin(self, earlier: Earlier) -> None:
        groups = ("positive", "negative", "all")
        self.losses = {group: {gamma: LossHistogram() for gamma in self.subject.gammas} for group in groups}

    def add(self, batch: LookedAt) -> None:
        own = self.subject.focal
        for gamma in self.subject.gammas:
            losses = anchor_focal_losses(batch.logits, batch.targets, FocalSettings(own.alpha, gamma, own.softmax))
            for group in ("positive", "negative"):
                self.losses[group][gamma].add(losses[batch.groups[group]])
                self.losses["all"][gamma].add(losses[batch.groups[group]])

    def record(self) -> dict[str, Any]:
        curves = {
            group: {str(gamma): histogram.curve() for gamma, histogram in by_gamma.items()}
            for group, by_gamma in self.losses.items()
        }
        return {"focal": asdict(self.subject.focal), "cumulative_loss": curves}

    def figure(self) -> Figure:
        figure, axes = new_axes(1, 2, size=(9.0, 4.2), sharey=True)
        for place, group in zip(axes[0], ("positive", "negative"), strict=True):
            for gamma, histogram in self.losses[group].items():
                curve = histogram.curve()
                if curve:
                    width = 2.6 if gamma == self.subject.focal.gamma else 1.4
                    place.plot(np.linspace(0, 1, len(curve)), curve, linewidth=width, label=f"γ = {gamma:g}")
            place.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"share of the {group} anchors, easiest first", aspect="equal")
            place.set_title(f"{group} anchors ({count(histogram.count + histogram.not_finite)})")
            if place.get_lines():
                place.legend(loc="upper left")
            else:
                say_none(place)
        axes[0, 0].set_ylabel("share of the loss")
        return figure


class HardestAnchors(Look):
    """How much of the loss the hardest 1 % of anchors carry. With a small γ it is spread over anchors that are right
    already; near 100 % a few anchors, perhaps wrong labels, decide everything. The upright line is this model's γ.
    """

    name = "hardest"
    title = "The hardest 1 %"

    def begin(self, earlier: Earlier) -> None:
        self.losses = earlier[CumulativeLoss].losses
        self.pull = LossHistogram()

    def add(self, batch: LookedAt) -> None:
        self.pull.add(torch.cat([batch.pull[batch.groups["positive"]], batch.pull[batch.groups["negative"]]]))

    def share(self, group: str, gamma: float) -> float | None:
        """Return the share of the group's focal loss that its hardest 1 % of anchors carry."""
        return self.losses[group][gamma].hardest(HARDEST)

    def record(self) -> dict[str, Any]:
        gammas = self.subject.gammas
        shares = {group: {str(gamma): self.share(group, gamma) for gamma in gammas} for group in self.losses}
        hardest = {"focal_loss": shares, "own_gradient": self.pull.hardest(HARDEST)}
        return {"hardest_1_percent": hardest, "not_finite": self.pull.not_finite}

    def numbers(self) -> dict[str, float | None]:
        gamma = self.subject.focal.gamma
        return {
            "hardest_1_percent": self.share("all", gamma),
            "hardest_1_percent_negatives": self.share("negative", gamma),
            "hardest_1_percent_gradient": self.pull.hardest(HARDEST),
        }

    def glance(self) -> list[tuple[str, str]]:
        share = percent(self.pull.hardest(HARDEST))
        rows = [("hardest 1 % of anchors: share of the gradient of this model's class loss", share)]
        if self.pull.not_finite:
            rows.append(("anchors whose loss is not finite, left out", f"{self.pull.not_finite:,}"))
        return rows

    def tables(self) -> list[PageTable]:
        rows: list[tuple[Any, ...]] = [
            (f"{gamma:g}", *(percent(self.share(group, gamma)) for group in self.losses))
            for gamma in self.subject.gammas
        ]
        title = f"Share of the focal loss that the hardest 1 % carry (alpha {self.subject.focal.alpha:g})"
        return [PageTable(title, ("γ", "positives", "background", "all anchors"), rows)]

    def figure(self) -> Figure:
        figure, axes = new_axes(1, 1, size=(6.4, 3.4))
        place = axes[0, 0]
        for group in self.losses:
            shares = [self.share(group, gamma) for gamma in self.subject.gammas]
            percents = [np.nan if share is None else 100 * share for share in shares]
            place.plot(self.subject.gammas, percents, marker="o", markersize=4, label=f"{group} anchors")
        place.set(ylim=(0, 103), xlabel="γ", ylabel="% of the loss")
        place.axvline(self.subject.focal.gamma, color=GREY, linewidth=0.8, zorder=0)
        place.legend()
        return figure


class Scores(Look):
    """What anchors give to what is true, counts on a logarithmic axis. Good: positives pile up at the right, background
    far to the right with a thin tail. Background at the left are false alarms or objects without a label. Ignored
    anchors (overlap between the thresholds, or in a crowd) have no loss: they may lie anywhere.
    """

    name = "scores"
    title = "Scores of the anchors"
    _TITLES = {
        "positive": "positive anchors: score of their class",
        "negative": "background anchors: 1 − highest score",
        "ignored": "ignored anchors: 1 − highest score",
    }

    def begin(self, earlier: Earlier) -> None:
        self.counts = {group: np.zeros(SCORE_BINS, dtype=np.int64) for group in self._TITLES}
        self.sums = dict.fromkeys(self._TITLES, (0.0, 0.0))  # sum and sum of squares of p_t

    def add(self, batch: LookedAt) -> None:
        scores = anchor_scores(batch.logits, batch.targets, softmax=self.subject.focal.softmax)
        for group, members in batch.groups.items():
            values = scores[members].double().cpu()
            index = (values * SCORE_BINS).long().clamp_(min=0, max=SCORE_BINS - 1)
            self.counts[group] += torch.bincount(index, minlength=SCORE_BINS).numpy()
            first, second = self.sums[group]
            self.sums[group] = (first + float(values.sum()), second + float(values.square().sum()))

    def record(self) -> dict[str, Any]:
        return {
            "num_anchors": {group: int(counts.sum()) for group, counts in self.counts.items()},
            "scores": {group: counts.tolist() for group, counts in self.counts.items()},
        }

    def histograms(self) -> dict[str, TallyHistogram]:
        edges = np.linspace(0.0, 1.0, SCORE_BINS + 1)
        return {
            f"p_t_{group}": TallyHistogram(edges, counts, *self.sums[group])
            for group, counts in self.counts.items()
            if counts.any()
        }

    def glance(self) -> list[tuple[str, str]]:
        words = {"positive": "positive", "negative": "background", "ignored": "ignored"}
        numbers = [f"{int(self.counts[group].sum()):,} {word}" for group, word in words.items()]
        return [("anchors", ", ".join(numbers))]

    def figure(self) -> Figure:
        figure, axes = new_axes(3, 1, size=(7.4, 5.6), sharex=True)
        edges = np.linspace(0.0, 1.0, SCORE_BINS + 1)
        for position, (place, (group, counts)) in enumerate(zip(axes[:, 0], self.counts.items(), strict=True)):
            place.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=COLORS[position], linewidth=0)
            place.set_title(f"{self._TITLES[group]} ({count(int(counts.sum()))})")
            place.set(xlim=(0, 1), ylabel="anchors")
            if counts.any():
                place.set_yscale("log")
                place.set_ylim(bottom=0.7)
            else:
                say_none(place)
        axes[-1, 0].set_xlabel("p_t")
        return figure
