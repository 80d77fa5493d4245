"""Every box loss against its paper's formula, torchvision, values by hand and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from retina.detection.losses.box import (
    BoxLoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    FocalEIoULoss,
    GIoULoss,
    L1Loss,
    SmoothL1Loss,
)

OVERLAP: dict[str, BoxLoss] = {
    "giou": GIoULoss(),
    "diou": DIoULoss(),
    "ciou": CIoULoss(),
    "eiou": EIoULoss(),
    "focal_eiou": FocalEIoULoss(),
    "focal_eiou_normalised": FocalEIoULoss(normalise_weights=True),
}
DELTAS: dict[str, BoxLoss] = {"l1": L1Loss(), "smooth_l1": SmoothL1Loss(beta=0.5)}


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
        self.rho2 = ((x1 + x2) / 2 - (u1 + u2) / 2) ** 2 + ((y1 + y2) / 2 - (v1 + v2) / 2) ** 2
        self.v = 4 / math.pi**2 * (math.atan(self.w_gt / self.h_gt) - math.atan(self.w / self.h)) ** 2


def giou(p: Pair, _: float) -> float:
    hull = p.cw * p.ch
    return 1 - (p.iou - (hull - p.union) / hull)


def diou(p: Pair, _: float) -> float:
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2)


def ciou(p: Pair, alpha: float) -> float:
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2) + alpha * p.v


def eiou(p: Pair, _: float) -> float:
    sides = (p.w - p.w_gt) ** 2 / p.cw**2 + (p.h - p.h_gt) ** 2 / p.ch**2
    return 1 - p.iou + p.rho2 / (p.cw**2 + p.ch**2) + sides


def focal_eiou(p: Pair, weight: float) -> float:
    return weight * eiou(p, 0.0)


def no_constant(pairs: list[Pair]) -> list[float]:
    return [0.0] * len(pairs)


def trade_off(pairs: list[Pair]) -> list[float]:
    return [p.v / ((1 - p.iou) + p.v) for p in pairs]


def focus(pairs: list[Pair]) -> list[float]:
    return [p.iou**0.5 for p in pairs]


def focus_of_mean_one(pairs: list[Pair]) -> list[float]:
    return [weight * len(pairs) / sum(focus(pairs)) for weight in focus(pairs)]


# The formula of each loss, and the factor it holds constant (what has no gradient).
FORMULAS: dict[str, tuple[Callable[[Pair, float], float], Callable[[list[Pair]], list[float]]]] = {
    "giou": (giou, no_constant),
    "diou": (diou, no_constant),
    "ciou": (ciou, trade_off),
    "eiou": (eiou, no_constant),
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
    np.testing.assert_allclose(OVERLAP[name](predicted, target).numpy(), expected, rtol=1e-12, atol=1e-13)
    in_float32 = OVERLAP[name](predicted.float(), target.float())
    assert in_float32.dtype == torch.float32
    assert in_float32.shape == (60,)
    np.testing.assert_allclose(in_float32.numpy(), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", OVERLAP)
def test_gradients_are_those_of_the_formula_with_its_constant_factor_held(name):
    predicted, target = random_boxes(60, 3), random_boxes(60, 4)
    predicted.requires_grad_()
    OVERLAP[name](predicted, target).sum().backward()
    expected = slope_by_formula(name, predicted.detach(), target)
    np.testing.assert_allclose(predicted.grad.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["giou", "diou", "eiou"])
def test_gradcheck_of_losses_without_a_constant_factor(name):
    predicted, target = random_boxes(12, 5).requires_grad_(), random_boxes(12, 6)
    assert torch.autograd.gradcheck(lambda boxes: OVERLAP[name](boxes, target), predicted)


@pytest.mark.parametrize("name", DELTAS)
def test_gradcheck_of_losses_on_codes(name):
    generator = torch.Generator().manual_seed(7)
    predicted = torch.randn(12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda deltas: DELTAS[name](deltas, target), predicted)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_values_and_gradients_agree_with_torchvision(name, reference):
    predicted, target = random_boxes(60, 8).float().requires_grad_(), random_boxes(60, 9).float()
    ours, theirs = OVERLAP[name](predicted, target), reference(predicted, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(ours.sum(), predicted)
    (expected,) = torch.autograd.grad(theirs.sum(), predicted)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


SHIFTED = ([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0])  # overlap 2, union 6, together 3 x 2, centres 1 apart
APART = ([0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 4.0, 1.0])  # together 4 x 1, centres 2.5 apart, widths 1 and 2
WIDE = ([0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0])  # overlap 4, union 8, together 4 x 2, centres 1 apart
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
        ("focal_eiou", WIDE, math.sqrt(0.5) * (1 - 0.5 + 1 / 20 + 4 / 16)),
        ("focal_eiou", APART, 0.0),
    ],
)
def test_values_are_those_computed_by_hand(name, boxes, expected):
    predicted, target = (torch.tensor([box]) for box in boxes)
    assert OVERLAP[name](predicted, target).item() == pytest.approx(expected, rel=1e-6)


def test_losses_on_codes_are_those_computed_by_hand():
    predicted, target = torch.tensor([[0.0, 1.0, -2.0, 0.1]]), torch.tensor([[0.0, 0.0, 1.0, 0.3]])
    assert L1Loss()(predicted, target).item() == pytest.approx(0 + 1 + 3 + 0.2)
    # Beyond beta |x| - beta / 2, below x^2 / (2 beta).
    expected = 0 + (1 - 0.25) + (3 - 0.25) + 0.2**2 / 1.0
    assert SmoothL1Loss(beta=0.5)(predicted, target).item() == pytest.approx(expected)


def test_smooth_l1_with_beta_zero_is_l1():
    predicted, target = random_boxes(20, 10), random_boxes(20, 11)
    torch.testing.assert_close(SmoothL1Loss(beta=0.0)(predicted, target), L1Loss()(predicted, target))


@pytest.mark.parametrize("normalise_weights", [False, True])
def test_focal_eiou_with_gamma_zero_is_eiou_also_where_boxes_do_not_meet(normalise_weights):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    loss = FocalEIoULoss(gamma=0.0, normalise_weights=normalise_weights)
    torch.testing.assert_close(loss(predicted, target), EIoULoss()(predicted, target))


@pytest.mark.parametrize("name", OVERLAP)
def test_equal_boxes_cost_nothing_and_others_something(name):
    boxes = random_boxes(20, 12)
    assert OVERLAP[name](boxes, boxes).abs().max() < 1e-12
    assert OVERLAP[name](boxes, boxes + torch.tensor([0.5, 0.0, 0.0, 0.0])).min() > 0


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
    expected = OVERLAP[name](predicted, target)
    torch.testing.assert_close(OVERLAP[name](change(predicted), change(target)), expected)


@pytest.mark.parametrize("name", OVERLAP)
def test_width_and_height_are_treated_alike(name):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    swapped = OVERLAP[name](predicted[:, [1, 0, 3, 2]], target[:, [1, 0, 3, 2]])
    torch.testing.assert_close(swapped, OVERLAP[name](predicted, target))


def test_normalised_weights_have_mean_one():
    predicted, target = torch.tensor([WIDE[0], SHIFTED[0]]), torch.tensor([WIDE[1], SHIFTED[1]])
    weights = torch.tensor([0.5, 1 / 3]).sqrt()
    expected = weights * 2 / weights.sum() * EIoULoss()(predicted, target)
    torch.testing.assert_close(FocalEIoULoss(normalise_weights=True)(predicted, target), expected)


def test_normalised_weights_of_boxes_that_all_miss_cost_nothing():
    predicted, target = torch.tensor([APART[0]] * 3, requires_grad=True), torch.tensor([APART[1]] * 3)
    value = FocalEIoULoss(normalise_weights=True)(predicted, target)
    value.sum().backward()
    assert value.tolist() == [0.0] * 3
    assert predicted.grad.abs().max() == 0


def test_weights_normalised_over_ranks_give_the_loss_of_the_joined_batch():
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    shares = [slice(0, 0), slice(0, 25), slice(25, 60)]  # one rank has no boxes
    totals: list[Tensor] = []

    def note(local: Tensor) -> Tensor:
        totals.append(local)
        return local

    loss = FocalEIoULoss(normalise_weights=True)
    loss.sum_over_ranks = note
    for share in shares:
        loss(predicted[share], target[share])
    assert len(totals) == 3
    loss.sum_over_ranks = lambda local: torch.stack(totals).sum(dim=0)
    on_ranks = torch.cat([loss(predicted[share], target[share]) for share in shares])
    whole = FocalEIoULoss(normalise_weights=True)(predicted, target)
    torch.testing.assert_close(on_ranks, whole)
    assert not torch.allclose(whole[:25], FocalEIoULoss(normalise_weights=True)(predicted[:25], target[:25]))


@pytest.mark.parametrize("name", OVERLAP | DELTAS)
def test_additive_says_whether_parts_of_a_batch_sum_to_the_whole(name):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    loss = (OVERLAP | DELTAS)[name]
    parts = loss(predicted[:10], target[:10]).sum() + loss(predicted[10:], target[10:]).sum()
    assert loss.additive is torch.allclose(parts, loss(predicted, target).sum(), rtol=1e-9)
    assert loss.additive is (name != "focal_eiou_normalised")


@pytest.mark.parametrize("name", OVERLAP | DELTAS)
def test_no_boxes_give_no_values_with_a_graph(name):
    predicted = torch.zeros(0, 4, requires_grad=True)
    value = (OVERLAP | DELTAS)[name](predicted, torch.zeros(0, 4))
    value.sum().backward()
    assert value.shape == (0,)
    assert value.sum().item() == 0
    assert predicted.grad.shape == (0, 4)


@pytest.mark.parametrize("name", OVERLAP | DELTAS)
def test_losses_never_read_a_value_on_the_host(name):
    # On the meta device there are no values: .item(), nonzero() and boolean indexing raise.
    predicted = torch.zeros(5, 4, device="meta", requires_grad=True)
    (OVERLAP | DELTAS)[name](predicted, torch.zeros(5, 4, device="meta")).sum().backward()
    assert predicted.grad.shape == (5, 4)


def test_losses_say_their_space_and_carry_their_weight_without_applying_it():
    assert {loss.space for loss in OVERLAP.values()} == {"boxes"}
    assert {loss.space for loss in DELTAS.values()} == {"deltas"}
    predicted, target = random_boxes(5, 1), random_boxes(5, 2)
    for kind in (GIoULoss, DIoULoss, CIoULoss, EIoULoss, FocalEIoULoss, L1Loss, SmoothL1Loss):
        heavy = kind(weight=3.0)
        assert heavy.weight == 3.0
        torch.testing.assert_close(heavy(predicted, target), kind()(predicted, target))


def test_boxes_of_different_number_are_refused_naming_both():
    with pytest.raises(ValueError, match=r"\(P, 4\), got \(3, 4\) and \(2, 4\)"):
        GIoULoss()(torch.zeros(3, 4), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(GIoULoss, "weight"), (L1Loss, "weight"), (SmoothL1Loss, "beta"), (FocalEIoULoss, "gamma")],
)
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
def test_impossible_settings_are_named(kind, setting, value):
    with pytest.raises(ValueError, match=rf"loss\.box\.{setting} must be at least 0 and finite, got {value}"):
        kind(**{setting: value})
