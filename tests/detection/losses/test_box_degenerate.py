"""Box losses on boxes without a side, inside out, disjoint, huge or tiny: always finite, and still of use."""

from __future__ import annotations

import pytest
import torch

from retina.detection.losses.overlap import CIoULoss, SIoULoss
from tests.detection.losses.box_losses import DELTAS, OVERLAP, rows

OVERLAP_LOSSES = OVERLAP | {"siou_plain": lambda: SIoULoss(theta=1.0)}

DEGENERATE = {
    "zero width": ([5, 0, 5, 9], [0, 0, 9, 9]),
    "zero height": ([0, 5, 9, 5], [0, 0, 9, 9]),
    "a point": ([5, 5, 5, 5], [0, 0, 9, 9]),
    "a point outside": ([50, 50, 50, 50], [0, 0, 9, 9]),
    "a corner point": ([0, 0, 0, 0], [0, 0, 9, 9]),
    "target of zero width": ([0, 0, 9, 9], [5, 0, 5, 9]),
    "target of zero height": ([0, 0, 9, 9], [0, 5, 9, 5]),
    "target a point": ([0, 0, 9, 9], [5, 5, 5, 5]),
    "both of zero width": ([5, 0, 5, 9], [5, 2, 5, 11]),
    "both of zero height": ([0, 5, 9, 5], [2, 5, 11, 5]),
    "the same point": ([5, 5, 5, 5], [5, 5, 5, 5]),
    "two points": ([5, 5, 5, 5], [7, 7, 7, 7]),
    "inside out": ([9, 9, 0, 0], [0, 0, 9, 9]),
    "inside out along x": ([9, 0, 0, 9], [0, 0, 9, 9]),
    "both inside out": ([9, 9, 0, 0], [20, 9, 2, 1]),
    "inside out and far": ([1e6, 1e6, -1e6, -1e6], [0, 0, 9, 9]),
    "identical": ([1, 2, 30, 40], [1, 2, 30, 40]),
    "disjoint": ([0, 0, 5, 5], [20, 30, 25, 50]),
    "touching": ([0, 0, 5, 5], [5, 0, 9, 5]),
    "touching at a corner": ([0, 0, 5, 5], [5, 5, 9, 9]),
    "inside": ([3, 3, 5, 5], [0, 0, 9, 9]),
    "huge": ([-1e6, -1e6, 1e6, 1e6], [0, 0, 9, 9]),
    "huge and far": ([1e6, 1e6, 3e6, 5e6], [0, 0, 9, 9]),
    "huge and thin": ([0, 0, 1e6, 1e-6], [0, 0, 1e-6, 1e6]),
    "huge without height": ([0, 0, 1e6, 0], [0, 0, 1e6, 0]),
    "beyond reason": ([-1e18, -1e18, 1e18, 1e18], [0, 0, 9, 9]),
    "beyond reason and far": ([9e17, 9e17, 1e18, 1e18], [-1e18, -1e18, -9e17, -9e17]),
    "tiny": ([0, 0, 1e-6, 1e-6], [0, 0, 9, 9]),
    "both tiny": ([0, 0, 1e-6, 1e-6], [0, 0, 2e-6, 1e-6]),
    "both below float32": ([0, 0, 1e-30, 1e-40], [0, 0, 1e-40, 1e-30]),
    "tiny and far": ([1e6, 1e6, 1e6, 1e6], [0, 0, 1e-12, 1e-12]),
}
# Far above any gradient of usable boxes, far below what could turn one box into the direction of a whole step
# through rounding: the steepest quotient has a side of 0.0003 px, or such a side beside one of 1e6 px.
STEEPEST = 1e14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", OVERLAP_LOSSES | DELTAS)
def test_degenerate_boxes_have_a_finite_loss_and_gradient(name, dtype):
    # A good pair beside each: a bad box must not spoil the others either.
    good, good_target = [0.0, 0.0, 8.0, 8.0], [1.0, 1.0, 9.0, 9.0]
    for case, (box, object_box) in DEGENERATE.items():
        predicted = torch.tensor([box, good], dtype=dtype, requires_grad=True)
        target = torch.tensor([object_box, good_target], dtype=dtype)
        loss = (OVERLAP_LOSSES | DELTAS)[name]()
        value = loss(rows(predicted, target))
        value.sum().backward()
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.isfinite(value).all(), case
        assert value.min() > -1e-6, case
        # The slope of a square has no bound but the error's.
        steepest = max(STEEPEST, 2.1 * (predicted - target).abs().max().item()) if name == "mse" else STEEPEST
        assert predicted.grad.abs().max() <= steepest, case  # false for NaN
        assert predicted.grad[1].abs().max() > 1e-4, case
        assert all(buffer.isfinite().all() for buffer in loss.buffers()), case


@pytest.mark.parametrize("name", OVERLAP_LOSSES | DELTAS)
def test_what_is_not_a_number_is_told_and_not_taken_for_a_box_that_misses(name):
    predicted, target = torch.tensor([[float("nan")] * 4, [0.0, 0.0, 8.0, 8.0]]), torch.full((2, 4), 5.0)
    assert (OVERLAP_LOSSES | DELTAS)[name]()(rows(predicted, target))[0].isnan()


@pytest.mark.parametrize(
    ("name", "expected"),
    [*((name, 1.0) for name in ("iou", "giou", "diou", "ciou", "eiou", "siou", "wiou")), ("focal_eiou", 0.0)],
)
def test_two_equal_points_count_as_not_overlapping(name, expected):
    point = torch.full((1, 4), 5.0)
    assert OVERLAP_LOSSES[name]()(rows(point, point)).item() == expected


def test_ciou_of_a_flat_box_is_the_limit_of_ever_flatter_ones():
    target = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    flat, nearly = torch.tensor([[0.0, 4.0, 9.0, 4.0]]), torch.tensor([[0.0, 4.0, 9.0, 4.0001]])
    torch.testing.assert_close(CIoULoss()(rows(flat, target)), CIoULoss()(rows(nearly, target)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["giou", "diou", "ciou", "eiou", "siou", "wiou", "wiou_v3"])
def test_descent_brings_bad_boxes_onto_their_target(name):
    target = torch.tensor([[10.0, 10.0, 30.0, 40.0]] * 2)
    disjoint, without_width = [60.0, 60.0, 80.0, 70.0], [12.0, 10.0, 12.0, 40.0]
    boxes = torch.tensor([disjoint, without_width], requires_grad=True)
    optimizer = torch.optim.Adam([boxes], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    loss = OVERLAP_LOSSES[name]()
    for _ in range(400):
        optimizer.zero_grad()
        loss(rows(boxes, target)).sum().backward()
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(boxes.detach(), target, rtol=0, atol=0.5)
