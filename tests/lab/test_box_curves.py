"""Box losses along a shift and a change of scale, against what can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from retina.detection.losses.box import L1Loss, MSELoss
from retina.detection.losses.overlap import EIoULoss, GIoULoss, IoULoss
from retina.detection.losses.running import GHMRLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.lab.box_curves import MAX_SHIFT, box_curves, codes_along, losses_and_gradients
from retina.lab.class_curves import even_density, set_density


def test_l1_of_a_shift_is_the_shift_and_its_slope_is_one() -> None:
    curve = box_curves(L1Loss(weight=3.0), "l1")["shift"]
    assert curve.loss == pytest.approx([3 * abs(x) for x in curve.x], rel=1e-12)
    assert curve.gradient == pytest.approx([3.0] * len(curve.x))


def test_overlap_of_shifted_and_of_grown_boxes_is_as_by_hand() -> None:
    curves = box_curves(IoULoss(weight=1.0), "iou")
    shift, scale = curves["shift"], curves["scale"]
    by_hand = [max(0.0, (1 - abs(x)) / (1 + abs(x))) for x in shift.x]
    assert shift.iou == pytest.approx(by_hand, abs=1e-12)
    assert shift.loss == pytest.approx([1 - iou for iou in by_hand], abs=1e-12)
    assert scale.iou == pytest.approx([min(s, 1 / s) ** 2 for s in scale.x], rel=1e-9)
    # 1 - IoU has the slope 2 / (1 + x)^2 in a shift x; that of the width comes on top.
    inside = [(x, g) for x, g in zip(shift.x, shift.gradient, strict=True) if 0 < x < 0.99]
    assert all(g >= 2 / (1 + x) ** 2 - 1e-9 for x, g in inside)


def test_apart_the_iou_loss_has_no_slope_and_giou_has() -> None:
    iou, giou = (box_curves(loss, "")["shift"] for loss in (IoULoss(), GIoULoss()))
    apart = [i for i, x in enumerate(iou.x) if abs(x) > 1.01]
    assert len(apart) > 40
    assert all(iou.gradient[i] == 0 for i in apart)
    assert all(giou.gradient[i] > 0.1 for i in apart)


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
    assert curve.loss == pytest.approx([math.hypot(x, 0.02) - 0.02 for x in curve.x], rel=1e-5)


def test_no_point_lies_at_the_true_box_and_the_ways_have_names() -> None:
    x, codes = codes_along("shift")
    assert (float(x[0]), float(x[-1])) == (-MAX_SHIFT, MAX_SHIFT)
    assert float(codes[:, 0].abs().min()) > 0
    with pytest.raises(ValueError, match="must be one of"):
        codes_along("turn")
