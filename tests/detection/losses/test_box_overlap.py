"""Every loss of decoded boxes against its paper's formula, torchvision, values by hand and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.overlap import AlphaIoULoss, IoULoss, SIoULoss, WIoULoss, angle_cost
from tests.detection.losses.box_losses import OVERLAP, rows


class Pair:
    """Two boxes in plain Python numbers, with the letters of the papers."""

    def __init__(self, predicted: np.ndarray, target: np.ndarray) -> None:
        x1, y1, x2, y2 = map(float, predicted)
        u1, v1, u2, v2 = map(float, target)
        self.w, self.h, self.w_gt, self.h_gt = x2 - x1, y2 - y1, u2 - u1, v2 - v1
        overlap = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
        self.union = self.w * self.h + self.w_gt * self.h_gt - overlap
        self.iou = overlap / self.union
        self.cw, self.ch = max(x2, u2) - min(x1, u1), max(y2, v2) - min(y1, v1)
        self.dx, self.dy = (x1 + x2) / 2 - (u1 + u2) / 2, (y1 + y2) / 2 - (v1 + v2) / 2
        self.rho2 = self.dx**2 + self.dy**2
        self.v = 4 / math.pi**2 * (math.atan(self.w_gt / self.h_gt) - math.atan(self.w / self.h)) ** 2


Constant = tuple[float, ...]


def iou(p: Pair, _: Constant) -> float:
    return 1 - p.iou


def iou_log(p: Pair, _: Constant) -> float:
    return -math.log(max(p.iou, 1e-6))


def siou(p: Pair, _: Constant) -> float:
    # The paper's way: an angle, and the squared sine of its distance from pi / 4.
    angle = 1 - 2 * math.sin(math.asin(abs(p.dy) / math.sqrt(p.rho2)) - math.pi / 4) ** 2
    distance = sum(1 - math.exp(-(2 - angle) * (way / side) ** 2) for way, side in ((p.dx, p.cw), (p.dy, p.ch)))
    sides = ((p.w, p.w_gt), (p.h, p.h_gt))
    shape = sum((1 - math.exp(-abs(side - goal) / max(side, goal))) ** 4 for side, goal in sides)
    return 1 - p.iou + (distance + shape) / 2


def wiou(p: Pair, constant: Constant) -> float:
    gain, diagonal_squared = constant
    return gain * math.exp(p.rho2 / diagonal_squared) * (1 - p.iou)


def giou(p: Pair, _: Constant) -> float:
    hull = p.cw * p.ch
    return 1 - (p.iou - (hull - p.union) / hull)


def diou(p: Pair, _: Constant) -> float:
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2)


def ciou(p: Pair, constant: Constant) -> float:
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2) + constant[0] * p.v


def eiou(p: Pair, _: Constant) -> float:
    sides = (p.w - p.w_gt) ** 2 / p.cw**2 + (p.h - p.h_gt) ** 2 / p.ch**2
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2) + sides


def focal_eiou(p: Pair, constant: Constant) -> float:
    return constant[0] * eiou(p, ())


def no_constant(pairs: list[Pair]) -> list[Constant]:
    return [()] * len(pairs)


def trade_off(pairs: list[Pair]) -> list[Constant]:
    return [(p.v / ((1 - p.iou) + p.v),) for p in pairs]


def focus(pairs: list[Pair]) -> list[Constant]:
    return [(p.iou**0.5,) for p in pairs]


def focus_of_mean_one(pairs: list[Pair]) -> list[Constant]:
    mean = sum(p.iou**0.5 for p in pairs) / len(pairs)
    return [(p.iou**0.5 / mean,) for p in pairs]


def diagonal(pairs: list[Pair]) -> list[Constant]:
    return [(1.0, p.cw**2 + p.ch**2) for p in pairs]


def gain_and_diagonal(pairs: list[Pair]) -> list[Constant]:
    kept = 0.5 ** (1 / 2.0)  # of the mean of 1 that it starts with
    mean = kept * 1.0 + (1 - kept) * sum(1 - p.iou for p in pairs) / len(pairs)
    degrees = [(1 - p.iou) / mean for p in pairs]
    gains = [beta / (3.0 * 1.9 ** (beta - 3.0)) for beta in degrees]
    return [(gain, constant[1]) for gain, constant in zip(gains, diagonal(pairs), strict=True)]


# The formula of each loss, and the factors it holds constant (what has no gradient).
FORMULAS: dict[str, tuple[Callable[[Pair, Constant], float], Callable[[list[Pair]], list[Constant]]]] = {
    "iou": (iou, no_constant),
    "iou_log": (iou_log, no_constant),
    "alpha_iou": (lambda p, _: 1 - p.iou**3, no_constant),
    "alpha_iou_root": (lambda p, _: 1 - math.sqrt(p.iou), no_constant),
    "giou": (giou, no_constant),
    "diou": (diou, no_constant),
    "ciou": (ciou, trade_off),
    "eiou": (eiou, no_constant),
    "siou": (siou, no_constant),
    "wiou": (wiou, diagonal),
    "wiou_v3": (wiou, gain_and_diagonal),
    "focal_eiou": (focal_eiou, focus),
    "focal_eiou_normalised": (focal_eiou, focus_of_mean_one),
}


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 5 to 60 px around one another: most of a row of two such sets overlap, some do not."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 55 + 5
    return torch.cat([corner, corner + size], dim=1)


def by_formula(name: str, predicted: Tensor, target: Tensor) -> np.ndarray:
    formula, constant = FORMULAS[name]
    pairs = [Pair(p, t) for p, t in zip(predicted.numpy(), target.numpy(), strict=True)]
    return np.array([formula(p, c) for p, c in zip(pairs, constant(pairs), strict=True)])


def slope_by_formula(name: str, predicted: Tensor, target: Tensor, step: float = 1e-5) -> np.ndarray:
    """Central differences of the formula by each coordinate, with the constant factor held where it is."""
    formula, constant = FORMULAS[name]
    p, t = predicted.numpy(), target.numpy()
    held = constant([Pair(a, b) for a, b in zip(p, t, strict=True)])
    slope = np.zeros_like(p)
    for row, column in np.ndindex(p.shape):
        ends = []
        for shift in (step, -step):
            moved = p[row].copy()
            moved[column] += shift
            ends.append(formula(Pair(moved, t[row]), held[row]))
        slope[row, column] = (ends[0] - ends[1]) / (2 * step)
    return slope


def test_random_pairs_contain_both_overlapping_and_disjoint_boxes():
    pairs = [Pair(p, t) for p, t in zip(random_boxes(60, 1).numpy(), random_boxes(60, 2).numpy(), strict=True)]
    assert 3 <= sum(p.iou == 0 for p in pairs) <= 30


@pytest.mark.parametrize("name", OVERLAP)
def test_values_are_those_of_the_papers_formula(name):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    expected = by_formula(name, predicted, target)
    np.testing.assert_allclose(OVERLAP[name]()(rows(predicted, target)).numpy(), expected, rtol=1e-12, atol=1e-13)
    in_float32 = OVERLAP[name]()(rows(predicted.float(), target.float()))
    assert in_float32.dtype == torch.float32
    assert in_float32.shape == (60,)
    np.testing.assert_allclose(in_float32.numpy(), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", OVERLAP)
def test_gradients_are_those_of_the_formula_with_its_constant_factor_held(name):
    predicted, target = random_boxes(60, 3), random_boxes(60, 4)
    predicted.requires_grad_()
    OVERLAP[name]()(rows(predicted, target)).sum().backward()
    expected = slope_by_formula(name, predicted.detach(), target)
    np.testing.assert_allclose(predicted.grad.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["iou", "alpha_iou", "giou", "diou", "eiou", "siou"])
def test_gradcheck_of_losses_without_a_constant_factor(name):
    predicted, target = random_boxes(12, 5).requires_grad_(), random_boxes(12, 6)
    assert torch.autograd.gradcheck(lambda boxes: OVERLAP[name]()(rows(boxes, target)), predicted)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_values_and_gradients_agree_with_torchvision(name, reference):
    predicted, target = random_boxes(60, 8).float().requires_grad_(), random_boxes(60, 9).float()
    ours, theirs = OVERLAP[name]()(rows(predicted, target)), reference(predicted, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(ours.sum(), predicted)
    (expected,) = torch.autograd.grad(theirs.sum(), predicted)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


SHIFTED = ([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0])  # overlap 2, union 6, together 3 x 2, centres 1 apart
APART = ([0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 4.0, 1.0])  # together 4 x 1, centres 2.5 apart, widths 1 and 2
WIDE = ([0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0])  # overlap 4, union 8, together 4 x 2, centres 1 apart
DIAGONAL = ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0])  # overlap 1, union 7, together 3 x 3, centres 1 apart twice
V_WIDE = 4 / math.pi**2 * (math.pi / 4 - math.atan(2)) ** 2


@pytest.mark.parametrize(
    ("name", "boxes", "expected"),
    [
        ("giou", SHIFTED, 1 - 1 / 3),
        ("giou", APART, 1 + (4 - 3) / 4),
        ("diou", SHIFTED, 1 - 1 / 3 + 1 / 13),
        ("diou", APART, 1 + 6.25 / 17),
        ("ciou", WIDE, 1 - 0.5 + 1 / 20 + V_WIDE**2 / (0.5 + V_WIDE)),
        ("eiou", SHIFTED, 1 - 1 / 3 + 1 / 13),
        ("eiou", WIDE, 1 - 0.5 + 1 / 20 + 4 / 16),
        ("eiou", APART, 1 + 6.25 / 17 + 1 / 16),
        ("iou", WIDE, 0.5),
        ("iou_log", WIDE, math.log(2)),
        ("iou_log", APART, 6 * math.log(10)),
        ("alpha_iou", WIDE, 1 - 1 / 8),
        ("alpha_iou", APART, 1.0),
        ("siou", SHIFTED, 1 - 1 / 3 + 0.5 * (1 - math.exp(-2 / 9))),
        ("siou", WIDE, 0.5 + 0.5 * (1 - math.exp(-2 / 16)) + 0.5 * (1 - math.exp(-0.5)) ** 4),
        ("siou", DIAGONAL, 6 / 7 + 1 - math.exp(-1 / 9)),
        ("wiou", WIDE, 0.5 * math.exp(1 / 20)),
        ("wiou", APART, math.exp(6.25 / 17)),
        ("focal_eiou", WIDE, math.sqrt(0.5) * (1 - 0.5 + 1 / 20 + 4 / 16)),
        ("focal_eiou", APART, 0.0),
    ],
)
def test_values_are_those_computed_by_hand(name, boxes, expected):
    predicted, target = (torch.tensor([box]) for box in boxes)
    assert OVERLAP[name]()(rows(predicted, target)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", OVERLAP)
def test_equal_boxes_cost_nothing_and_others_something(name):
    boxes = random_boxes(20, 12)
    assert OVERLAP[name]()(rows(boxes, boxes)).abs().max() < 1e-12
    assert OVERLAP[name]()(rows(boxes, boxes + torch.tensor([0.5, 0.0, 0.0, 0.0]))).min() > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda boxes: boxes + torch.tensor([37.0, -12.0, 37.0, -12.0]),
        lambda boxes: boxes * 3.7,
        lambda boxes: boxes * 0.01,
        lambda boxes: -boxes[:, [2, 3, 0, 1]],
    ],
    ids=["moved", "enlarged", "shrunk", "turned by half"],
)
@pytest.mark.parametrize("name", OVERLAP)
def test_moving_scaling_or_turning_both_boxes_changes_nothing(name, change):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    expected = OVERLAP[name]()(rows(predicted, target))
    torch.testing.assert_close(OVERLAP[name]()(rows(change(predicted), change(target))), expected)


@pytest.mark.parametrize("name", OVERLAP)
def test_width_and_height_are_treated_alike(name):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    swapped = OVERLAP[name]()(rows(predicted[:, [1, 0, 3, 2]], target[:, [1, 0, 3, 2]]))
    torch.testing.assert_close(swapped, OVERLAP[name]()(rows(predicted, target)))


def test_alpha_iou_of_alpha_one_is_the_iou_loss():
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    torch.testing.assert_close(AlphaIoULoss(alpha=1.0)(rows(predicted, target)), IoULoss()(rows(predicted, target)))


def test_losses_of_the_power_of_the_iou_are_continuous_where_its_slope_needs_care():
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    below, above = (AlphaIoULoss(alpha=alpha)(rows(predicted, target)) for alpha in (1.0 - 1e-9, 1.0 + 1e-9))
    torch.testing.assert_close(below, above, rtol=0, atol=1e-7)


@pytest.mark.parametrize("degrees", range(0, 360, 15))
def test_the_angle_cost_is_the_sine_of_twice_the_angle_without_its_sign(degrees):
    way = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], dtype=torch.float64) * 7
    target = torch.tensor([[10.0, 10.0, 30.0, 50.0]], dtype=torch.float64)
    cost = angle_cost(BoxPairs.of_boxes(target + way.repeat(2), target))
    assert cost.item() == pytest.approx(abs(math.sin(math.radians(2 * degrees))), abs=1e-9)


def test_siou_charges_a_way_along_an_axis_more_than_the_same_way_along_a_diagonal():
    target = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    loss = SIoULoss()
    along, across = target + torch.tensor([6.0, 0.0, 6.0, 0.0]), target + 6.0 / math.sqrt(2)
    cost = [loss(rows(box, target)) - IoULoss()(rows(box, target)) for box in (along, across)]
    assert cost[0].item() > cost[1].item() > 0


def test_siou_with_a_larger_theta_charges_small_differences_of_shape_less():
    predicted, target = torch.tensor([[0.0, 0.0, 42.0, 40.0]]), torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    losses = [SIoULoss(theta=theta)(rows(predicted, target)).item() for theta in (1.0, 2.0, 4.0, 6.0)]
    assert losses == sorted(losses, reverse=True)
    share = 1 - math.exp(-2 / 42)
    assert losses[1] - losses[2] == pytest.approx((share**2 - share**4) / 2, rel=1e-3)


def test_wiou_pulls_centres_together_and_never_pushes_a_corner_outwards_to_widen_the_hull():
    predicted = torch.tensor([[60.0, 0.0, 80.0, 20.0]], requires_grad=True)
    WIoULoss()(rows(predicted, torch.tensor([[0.0, 0.0, 20.0, 20.0]]))).sum().backward()
    # Apart, 1 - IoU is constant; with a gradient of the diagonal the two corners would get different ones.
    assert predicted.grad[0, 0] == predicted.grad[0, 2] > 0
    assert predicted.grad[0, 1] == predicted.grad[0, 3] == 0
