"""Which curves are drawn of which loss: every setting that the pictures vary is one that a loss itself has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.lab.box_curves import box_curves, pairs_at
from retina.lab.class_curves import easy_density, even_density, score_curve, set_density

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)  # Source: Lin et al. 2017, Focal Loss for Dense Object Detection, figure 1
IOUS = (0.0, 0.25, 0.5, 0.75, 1.0)
HEATS = (0.0, 0.25, 0.5, 0.75)
FOCUS = ("gamma", "beta")  # what losses call the exponent that focuses; the first that a loss has
SIDES = ("positive", "background")
KINDS = ("codes", "overlaps", "sums")


@dataclass(frozen=True)
class LossFamily:
    """A loss that can be built with other settings than those of its file."""

    name: str
    settings: Mapping[str, Any]
    build: Callable[..., Any]  # takes changed settings by name

    @property
    def focus(self) -> str | None:
        """Return the name of the exponent that focuses, None where the loss has none."""
        return next((name for name in FOCUS if name in self.settings), None)


def class_collection(families: Sequence[LossFamily]) -> dict[str, Any]:
    """Return the curves of all classification losses as plain values, by the pictures that show them."""
    return {
        "focal": _focal_alone(families),
        "classification": {side: _as_configured(families, side) for side in SIDES},
        "focus": {family.name: {side: _focused(family, side) for side in SIDES} for family in families if family.focus},
        "iou": {family.name: _by_iou(family) for family in families if family.build().needs_iou},
        "heat": {family.name: _by_heat(family) for family in families if family.build().needs_heat},
        "density": {family.name: _by_density(family) for family in families if hasattr(family.build(), "bin_counts")},
    }


def box_collection(families: Sequence[LossFamily]) -> dict[str, Any]:
    """Return the curves of all box losses as plain values, by kind: of codes, of overlaps, and sums of both."""
    kinds: dict[str, Any] = {kind: {} for kind in KINDS}
    for family in families:
        loss = family.build()
        if hasattr(loss, "bin_counts"):
            set_density(loss, even_density(len(loss.bin_counts)), per_batch=4)
        curves = box_curves(loss, family.name)
        kinds[kind_of(loss)][family.name] = {way: asdict(curve) for way, curve in curves.items()}
    return kinds


def kind_of(loss: BoxLoss) -> str:
    """Return which of ``KINDS`` a box loss belongs to: by what it asks a pair for, where it is no sum."""
    if isinstance(loss, BoxLossSum):
        return "sums"
    pairs = pairs_at(torch.zeros(1, 4, dtype=torch.float64))
    loss.eval()(pairs)
    return "overlaps" if "boxes" in vars(pairs) else "codes"


def _focal_alone(families: Sequence[LossFamily]) -> dict[str, Any]:
    """Return the focal loss by gamma without alpha: with weight 1 for present classes, as figure 1 of the paper."""
    family = next((family for family in families if family.name == "focal"), None)
    if family is None:
        return {}
    return {str(gamma): asdict(score_curve(family.build(alpha=1.0, gamma=gamma), f"γ = {gamma:g}", positive=True))
            for gamma in GAMMAS}  # fmt: skip


def _as_configured(families: Sequence[LossFamily], side: str) -> dict[str, Any]:
    curves = {}
    for family in families:
        loss = family.build()
        if hasattr(loss, "bin_counts"):
            set_density(loss, easy_density(len(loss.bin_counts)), per_batch=1)
        curves[family.name] = asdict(score_curve(loss, family.name, positive=side == "positive"))
    return curves


def _focused(family: LossFamily, side: str) -> dict[str, Any]:
    focus = family.focus
    return {
        str(value): asdict(score_curve(family.build(**{focus: value}), f"{value:g}", positive=side == "positive"))
        for value in GAMMAS
        if focus is not None
    }


def _by_iou(family: LossFamily) -> dict[str, Any]:
    return {str(iou): asdict(score_curve(family.build(), f"IoU {iou:g}", positive=True, iou=iou)) for iou in IOUS}


def _by_heat(family: LossFamily) -> dict[str, Any]:
    return {
        str(heat): asdict(score_curve(family.build(), f"heat {heat:g}", positive=False, heat=heat)) for heat in HEATS
    }


def _by_density(family: LossFamily) -> dict[str, Any]:
    curves = {}
    for name, density in (("even density", even_density), ("mostly easy", easy_density)):
        loss = family.build()
        set_density(loss, density(len(loss.bin_counts)), per_batch=1)
        curves[name] = asdict(score_curve(loss, name, positive=True))
    return curves
