"""Pictures of the losses show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.focal_family import QualityFocalLoss
from retina.detection.losses.overlap import GIoULoss
from retina.lab import curve_plots
from retina.lab.collection import LossFamily, box_collection, class_collection


@pytest.fixture(scope="module")
def classes(few_points) -> dict:
    families = [LossFamily("focal", {"gamma": 2.0}, FocalLoss), LossFamily("q", {"beta": 2.0}, QualityFocalLoss)]
    return class_collection(families)


def names(figure) -> list[str]:
    return [text.get_text() for legend in [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
            for text in legend.get_texts()]  # fmt: skip


def test_the_lines_of_figure_1_are_the_curves(classes) -> None:
    figure = curve_plots.focal_figure(classes["focal"])
    for place in figure.axes:
        assert len(place.get_lines()) == 5
        for line, curve in zip(place.get_lines(), classes["focal"].values(), strict=True):
            np.testing.assert_array_equal(line.get_xydata().T, [curve["x"], curve["loss"]])
    assert [place.get_yscale() for place in figure.axes] == ["linear", "log"]
    assert names(figure) == ["γ = 0", "γ = 0.5", "γ = 1", "γ = 2", "γ = 5"]


def test_every_loss_has_a_name_in_its_picture(classes) -> None:
    assert names(curve_plots.classification_figure(classes["classification"])) == ["focal", "q"]
    assert names(curve_plots.context_figure(classes["iou"], label="score")) == [
        f"IoU {v:g}" for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    figure = curve_plots.focus_figure(classes["focus"])
    assert [place.get_title().replace("\n", " ") for place in figure.axes] == [
        "focal: anchor with an object", "focal: background anchor", "q: anchor with an object", "q: background anchor",
    ]  # fmt: skip


def test_box_losses_are_drawn_along_every_way(few_points) -> None:
    families = [LossFamily("l1", {}, L1Loss), LossFamily("giou", {}, GIoULoss)]
    boxes = box_collection(families)
    figure = curve_plots.box_figure({**boxes["codes"], **boxes["overlaps"]})
    assert names(figure) == ["l1", "giou"]
    assert [len(place.get_lines()) for place in figure.axes] == [2] * 6
    assert figure.axes[1].get_xscale() == "log"
    over_iou = figure.axes[2].get_lines()[1].get_xydata()
    assert (over_iou[:, 0] > 0).all()
    inside = over_iou[:, 0] > 0.3  # of boxes shifted along x there is no empty corner, so giou is 2 (1 - IoU)
    np.testing.assert_allclose(over_iou[inside, 1], 1 - over_iou[inside, 0], rtol=1e-6)
