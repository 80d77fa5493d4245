"""Which curves are drawn of which loss, and that the figures show them."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import CrossEntropyLoss, FocalLoss
from retina.detection.losses.focal_family import QualityFocalLoss
from retina.detection.losses.overlap import GIoULoss
from retina.detection.losses.running import GHMRLoss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.lab.curve_panels import BOX_PANELS, CLASS_PANELS, GAMMAS, BoxOverlaps, CurvePanel, FocalByGamma, LossFamily

FAMILIES = [
    LossFamily("focal", {"alpha": 0.25, "gamma": 2.0}, FocalLoss),
    LossFamily("cross_entropy", {}, CrossEntropyLoss),
    LossFamily("quality_focal", {"beta": 2.0}, QualityFocalLoss),
    LossFamily("ghm_c", {"bins": 10}, partial(GHMCLoss, bins=10)),
]


@pytest.fixture(scope="module")
def panels(few_points) -> dict[str, CurvePanel]:
    return {kind.key: kind(FAMILIES) for kind in CLASS_PANELS}


def names(figure) -> list[str]:
    return [text.get_text() for legend in [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
            for text in legend.get_texts()]  # fmt: skip


def test_every_loss_is_drawn_and_only_those_with_a_setting_are_varied_in_it(panels) -> None:
    curves = {key: panel.curves for key, panel in panels.items()}
    assert list(curves["classification"]["positive"]) == [family.name for family in FAMILIES]
    assert list(curves["focus"]) == ["focal", "quality_focal"]
    assert (list(curves["iou"]), list(curves["density"]), list(curves["heat"])) == (["quality_focal"], ["ghm_c"], [])
    assert list(curves["focal"]) == [str(gamma) for gamma in GAMMAS]
    json.dumps(curves, allow_nan=False)


def test_figure_1_has_no_alpha_and_the_others_have_that_of_the_file(panels) -> None:
    focal, every, focus = (panels[key].curves for key in ("focal", "classification", "focus"))
    alone = focal["2.0"]["loss"]
    assert every["positive"]["focal"]["loss"] == pytest.approx([0.25 * loss for loss in alone])
    assert every["background"]["focal"]["loss"] == pytest.approx([0.75 * loss for loss in alone])
    without_focus = [0.25 * loss for loss in focal["0.0"]["loss"]]
    assert focus["focal"]["positive"]["0.0"]["loss"] == pytest.approx(without_focus)


def test_without_a_focal_loss_its_panel_has_no_curves() -> None:
    assert FocalByGamma(FAMILIES[1:2]).curves == {}


def test_box_losses_are_sorted_by_what_they_compare(few_points) -> None:
    both = BoxLossSum({"l1": L1Loss(), "giou": GIoULoss()})
    families = [LossFamily(type(loss).__name__, {}, lambda loss=loss: loss)
                for loss in (L1Loss(), GIoULoss(), GHMRLoss(), both)]  # fmt: skip
    boxes = {kind.key: kind(families).curves for kind in BOX_PANELS}
    assert {key: list(losses) for key, losses in boxes.items()} == {
        "codes": ["L1Loss", "GHMRLoss"], "overlaps": ["GIoULoss"], "sums": ["BoxLossSum"],
    }  # fmt: skip
    parts = [boxes[kind][name]["scale"]["loss"] for kind, name in (("codes", "L1Loss"), ("overlaps", "GIoULoss"))]
    whole = boxes["sums"]["BoxLossSum"]["scale"]["loss"]
    assert whole == pytest.approx([a + b for a, b in zip(*parts, strict=True)])
    json.dumps(boxes, allow_nan=False)


def test_the_lines_of_figure_1_are_the_curves(panels) -> None:
    figure = panels["focal"].figure()
    for place in figure.axes:
        assert len(place.get_lines()) == 5
        for line, curve in zip(place.get_lines(), panels["focal"].curves.values(), strict=True):
            np.testing.assert_array_equal(line.get_xydata().T, [curve["x"], curve["loss"]])
    assert [place.get_yscale() for place in figure.axes] == ["linear", "log"]
    assert names(figure) == ["γ = 0", "γ = 0.5", "γ = 1", "γ = 2", "γ = 5"]


def test_every_loss_has_a_name_in_its_picture(panels) -> None:
    assert names(panels["classification"].figure()) == [family.name for family in FAMILIES]
    assert names(panels["iou"].figure()) == [f"IoU {v:g}" for v in (0, 0.25, 0.5, 0.75, 1)]
    figure = panels["focus"].figure()
    assert [place.get_title().replace("\n", " ") for place in figure.axes] == [
        f"{name}: {side}" for name in ("focal", "quality_focal") for side in ("anchor with an object",
                                                                              "background anchor")
    ]  # fmt: skip


def test_box_losses_are_drawn_along_every_way(few_points) -> None:
    class Both(BoxOverlaps):
        def compute(self, families):
            return {name: curves for kind in BOX_PANELS for name, curves in kind(families).curves.items()}

    figure = Both([LossFamily("l1", {}, L1Loss), LossFamily("giou", {}, GIoULoss)]).figure()
    assert names(figure) == ["l1", "giou"]
    assert [len(place.get_lines()) for place in figure.axes] == [2] * 6
    assert figure.axes[4].get_xscale() == "log"
    over_iou = figure.axes[2].get_lines()[1].get_xydata()
    assert (over_iou[:, 0] > 0).all()
    inside = over_iou[:, 0] > 0.3  # of boxes shifted along x there is no empty corner, so giou is 2 (1 - IoU)
    np.testing.assert_allclose(over_iou[inside, 1], 1 - over_iou[inside, 0], rtol=1e-6)
