"""Which curves are drawn of which loss."""

from __future__ import annotations

import json
from functools import partial

import pytest

from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import CrossEntropyLoss, FocalLoss
from retina.detection.losses.focal_family import QualityFocalLoss
from retina.detection.losses.overlap import GIoULoss
from retina.detection.losses.running import GHMRLoss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.lab.collection import GAMMAS, LossFamily, box_collection, class_collection

FAMILIES = [
    LossFamily("focal", {"alpha": 0.25, "gamma": 2.0}, FocalLoss),
    LossFamily("cross_entropy", {}, CrossEntropyLoss),
    LossFamily("quality_focal", {"beta": 2.0}, QualityFocalLoss),
    LossFamily("ghm_c", {"bins": 10}, partial(GHMCLoss, bins=10)),
]


@pytest.fixture(scope="module")
def classes(few_points) -> dict:
    return class_collection(FAMILIES)


def test_every_loss_is_drawn_and_only_those_with_a_setting_are_varied_in_it(classes) -> None:
    assert list(classes["classification"]["positive"]) == [family.name for family in FAMILIES]
    assert list(classes["focus"]) == ["focal", "quality_focal"]
    assert (list(classes["iou"]), list(classes["density"]), list(classes["heat"])) == (["quality_focal"], ["ghm_c"], [])
    assert list(classes["focal"]) == [str(gamma) for gamma in GAMMAS]
    json.dumps(classes, allow_nan=False)


def test_figure_1_has_no_alpha_and_the_others_have_that_of_the_file(classes) -> None:
    alone = classes["focal"]["2.0"]["loss"]
    assert classes["classification"]["positive"]["focal"]["loss"] == pytest.approx([0.25 * loss for loss in alone])
    assert classes["classification"]["background"]["focal"]["loss"] == pytest.approx([0.75 * loss for loss in alone])
    assert classes["focus"]["focal"]["positive"]["0.0"]["loss"] == pytest.approx(
        [0.25 * loss for loss in classes["focal"]["0.0"]["loss"]]
    )


def test_without_a_focal_loss_its_picture_is_left_out() -> None:
    assert class_collection(FAMILIES[1:2])["focal"] == {}


def test_box_losses_are_sorted_by_what_they_compare(few_points) -> None:
    both = BoxLossSum({"l1": L1Loss(), "giou": GIoULoss()})
    families = [LossFamily(type(loss).__name__, {}, lambda loss=loss: loss)
                for loss in (L1Loss(), GIoULoss(), GHMRLoss(), both)]  # fmt: skip
    boxes = box_collection(families)
    assert {kind: list(losses) for kind, losses in boxes.items()} == {
        "codes": ["L1Loss", "GHMRLoss"], "overlaps": ["GIoULoss"], "sums": ["BoxLossSum"],
    }  # fmt: skip
    parts = [boxes[kind][name]["scale"]["loss"] for kind, name in (("codes", "L1Loss"), ("overlaps", "GIoULoss"))]
    whole = boxes["sums"]["BoxLossSum"]["scale"]["loss"]
    assert whole == pytest.approx([a + b for a, b in zip(*parts, strict=True)])
    json.dumps(boxes, allow_nan=False)
