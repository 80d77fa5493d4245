"""The curves are those of the papers, and what can be computed by hand: closed forms and differences in float64."""

from __future__ import annotations

import math

import pytest
import torch

from retina.detection.losses.box import L1Loss, MSELoss
from retina.detection.losses.classification import BalancedCrossEntropyLoss, CrossEntropyLoss, FocalLoss
from retina.detection.losses.focal_family import (
    PenaltyReducedFocalLoss,
    QualityFocalLoss,
    SoftmaxFocalLoss,
    VarifocalLoss,
)
from retina.detection.losses.overlap import EIoULoss, GIoULoss, IoULoss
from retina.detection.losses.running import GHMRLoss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.lab.curves import (
    LOGITS,
    MAX_SHIFT,
    box_curves,
    easy_density,
    even_density,
    losses_and_gradients,
    score_curve,
    set_density,
    ways,
)

FEW = torch.linspace(-7.0, 7.0, 50, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_curves_of_figure_1_are_the_closed_form_at_fifty_points(gamma: float) -> None:
    curve = score_curve(FocalLoss(alpha=1.0, gamma=gamma), "", positive=True, logits=FEW)
    assert len(curve["x"]) == 50
    for p_t, loss in zip(curve["x"], curve["loss"], strict=True):
        # 1 - p_t from the logit, as 1 - p_t itself has lost its digits near 1.
        assert loss == pytest.approx((1 - p_t) ** gamma * -math.log(p_t), rel=1e-9)


def test_cross_entropy_is_the_logarithm_on_both_sides() -> None:
    for positive in (True, False):
        curve = score_curve(CrossEntropyLoss(), "", positive=positive, logits=FEW)
        assert curve["x"] == sorted(curve["x"])
        assert curve["loss"] == pytest.approx([-math.log(p_t) for p_t in curve["x"]], rel=1e-12)
        assert curve["gradient"] == pytest.approx([1 - p_t for p_t in curve["x"]], rel=1e-9)


def test_alpha_weighs_the_two_sides() -> None:
    balanced = [score_curve(BalancedCrossEntropyLoss(0.75), "", positive=side) for side in (True, False)]
    assert balanced[0]["loss"] == pytest.approx([3 * loss for loss in balanced[1]["loss"]], rel=1e-12)


LOSSES = [
    (FocalLoss(), {}), (FocalLoss(gamma=0.5), {}), (SoftmaxFocalLoss(), {}), (QualityFocalLoss(), {"iou": 0.3}),
    (VarifocalLoss(), {"iou": 0.8}), (PenaltyReducedFocalLoss(), {"heat": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "context"), LOSSES, ids=lambda value: str(value))
@pytest.mark.parametrize("positive", [True, False])
def test_the_slope_is_that_of_finite_differences(loss, context, positive: bool) -> None:
    step = 1e-5
    logits = torch.linspace(-5.0, 5.0, 7, dtype=torch.float64)
    slopes = score_curve(loss, "", positive=positive, logits=logits, **context)["gradient"]
    ahead, behind = (
        score_curve(loss, "", positive=positive, logits=logits + s, **context)["loss"] for s in (step, -step)
    )
    if not positive:  # p_t ascends where the logit descends
        ahead, behind = behind, ahead
    differences = [abs(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    assert slopes == pytest.approx(differences, rel=1e-5, abs=1e-8)


def test_a_score_that_equals_the_overlap_costs_nothing_with_the_quality_focal_loss() -> None:
    at = torch.tensor([math.log(0.7 / 0.3)], dtype=torch.float64)
    curve = score_curve(QualityFocalLoss(), "", positive=True, iou=0.7, logits=at)
    assert curve["loss"][0] < 1e-20
    assert curve["gradient"][0] < 1e-12


def test_softmax_of_one_class_and_the_background_is_the_sigmoid() -> None:
    for positive in (True, False):
        softmax = score_curve(SoftmaxFocalLoss(), "", positive=positive, logits=FEW)
        assert softmax["loss"] == pytest.approx(
            score_curve(FocalLoss(), "", positive=positive, logits=FEW)["loss"], rel=1e-6
        )


def test_heat_fades_the_background_by_its_power() -> None:
    cold, warm = (score_curve(PenaltyReducedFocalLoss(beta=4.0), "", positive=False, heat=h, logits=FEW)["loss"]
                  for h in (0.0, 0.5))  # fmt: skip
    assert warm == pytest.approx([loss * 0.5**4 for loss in cold], rel=1e-9)


def test_with_an_even_density_ghm_is_cross_entropy() -> None:
    loss = GHMCLoss(bins=30)
    set_density(loss, even_density(30), per_batch=1)
    before = loss.bin_counts.clone()
    for positive in (True, False):
        curve = score_curve(loss, "", positive=positive, logits=FEW)
        assert curve["loss"] == pytest.approx([-math.log(p_t) for p_t in curve["x"]], rel=1e-9)
    assert torch.equal(loss.bin_counts, before), "the density stays as it was set"


def test_a_common_gradient_norm_counts_less() -> None:
    loss = GHMCLoss(bins=10)
    set_density(loss, easy_density(10, easy=0.9, hard=0.02), per_batch=1)
    easy, middle, hard = (float(torch.logit(torch.tensor(p, dtype=torch.float64))) for p in (0.97, 0.5, 0.03))
    curve = score_curve(loss, "", positive=True, logits=torch.tensor([hard, middle, easy], dtype=torch.float64))
    weights = [value / -math.log(p_t) for value, p_t in zip(curve["loss"], curve["x"], strict=True)]
    assert weights == pytest.approx([1 / (10 * 0.02), 1 / (10 * 0.01), 1 / (10 * 0.9)], rel=1e-6)


def test_shares_that_are_none_are_refused() -> None:
    for shares in ([0.5, 0.4], [1.0, 0.0], [1.0]):
        with pytest.raises(ValueError, match="2 numbers above 0 of sum 1"):
            set_density(GHMCLoss(bins=2), shares, per_batch=1)
    assert easy_density(2) == [0.5, 0.5]
    assert sum(easy_density(30)) == pytest.approx(1)


def test_no_point_lies_at_a_score_of_one_half() -> None:
    assert float(LOGITS.abs().min()) > 0.01


def test_l1_of_a_shift_is_the_shift_and_its_slope_is_one() -> None:
    curve = box_curves(L1Loss(weight=3.0), "l1")["shift"]
    assert curve["loss"] == pytest.approx([3 * abs(x) for x in curve["x"]], rel=1e-12)
    assert curve["gradient"] == pytest.approx([3.0] * len(curve["x"]))


def test_overlap_of_shifted_and_of_grown_boxes_is_as_by_hand() -> None:
    curves = box_curves(IoULoss(weight=1.0), "iou")
    shift, scale = curves["shift"], curves["scale"]
    by_hand = [max(0.0, (1 - abs(x)) / (1 + abs(x))) for x in shift["x"]]
    assert shift["iou"] == pytest.approx(by_hand, abs=1e-12)
    assert shift["loss"] == pytest.approx([1 - iou for iou in by_hand], abs=1e-12)
    assert scale["iou"] == pytest.approx([min(s, 1 / s) ** 2 for s in scale["x"]], rel=1e-9)
    # 1 - IoU has the slope 2 / (1 + x)^2 in a shift x; that of the width comes on top.
    inside = [(x, g) for x, g in zip(shift["x"], shift["gradient"], strict=True) if 0 < x < 0.99]
    assert all(g >= 2 / (1 + x) ** 2 - 1e-9 for x, g in inside)


def test_apart_the_iou_loss_has_no_slope_and_giou_has() -> None:
    iou, giou = (box_curves(loss, "")["shift"] for loss in (IoULoss(), GIoULoss()))
    apart = [i for i, x in enumerate(iou["x"]) if abs(x) > 1.01]
    assert len(apart) > 40
    assert all(iou["gradient"][i] == 0 for i in apart)
    assert all(giou["gradient"][i] > 0.1 for i in apart)


@pytest.mark.parametrize("loss", [MSELoss(), GIoULoss(), EIoULoss(), BoxLossSum({"a": L1Loss(), "b": EIoULoss()})])
def test_gradients_are_those_of_finite_differences(loss) -> None:
    codes = torch.tensor([[0.3, -0.2, 0.1, 0.4], [1.4, 0.3, -0.5, 0.2]], dtype=torch.float64)
    _, gradients = losses_and_gradients(loss, codes)
    step = 1e-6
    for column in range(4):
        moved = torch.zeros_like(codes)
        moved[:, column] = step
        ahead, behind = (losses_and_gradients(loss, codes + sign * moved)[0] for sign in (1, -1))
        torch.testing.assert_close((ahead - behind) / (2 * step), gradients[:, column], rtol=1e-5, atol=1e-6)


def test_with_all_bins_equally_full_ghm_r_is_its_smooth_l1() -> None:
    loss = GHMRLoss(mu=0.02, bins=10)
    set_density(loss, even_density(10), per_batch=4)
    curve = box_curves(loss, "")["shift"]
    assert curve["loss"] == pytest.approx([math.hypot(x, 0.02) - 0.02 for x in curve["x"]], rel=1e-5)


def test_no_point_lies_at_the_true_box() -> None:
    x, codes = ways()["shift"]
    assert (float(x[0]), float(x[-1])) == (-MAX_SHIFT, MAX_SHIFT)
    assert float(codes[:, 0].abs().min()) > 0
