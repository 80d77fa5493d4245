"""What holds for every box loss, whatever its formula; and the normalised weights of Focal-EIoU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from retina.detection.losses.box import BalancedL1Loss, FocalL1Loss, HuberLoss, L1Loss, SmoothL1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.overlap import AlphaIoULoss, EIoULoss, FocalEIoULoss, GIoULoss, SIoULoss
from retina.detection.losses.running import GHMRLoss, WIoUv3Loss
from tests.detection.losses.box_losses import EVERY, OVERLAP, rows

NOT_ADDITIVE = {"focal_eiou_normalised", "wiou_v3", "ghm_r"}


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 5 to 60 px around one another: most of a row of two such sets overlap, some do not.

    As codes they are far apart, and a few near.
    """
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 55 + 5
    return torch.cat([corner, corner + size], dim=1)


SHIFTED = ([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0])  # overlap 2, union 6, together 3 x 2, centres 1 apart
APART = ([0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 4.0, 1.0])  # together 4 x 1, centres 2.5 apart, widths 1 and 2
WIDE = ([0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0])  # overlap 4, union 8, together 4 x 2, centres 1 apart


@pytest.mark.parametrize("normalise_weights", [False, True])
def test_focal_eiou_with_gamma_zero_is_eiou_also_where_boxes_do_not_meet(normalise_weights):
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    loss = FocalEIoULoss(gamma=0.0, normalise_weights=normalise_weights)
    torch.testing.assert_close(loss(rows(predicted, target)), EIoULoss()(rows(predicted, target)))


def test_normalised_weights_have_mean_one():
    predicted, target = torch.tensor([WIDE[0], SHIFTED[0]]), torch.tensor([WIDE[1], SHIFTED[1]])
    weights = torch.tensor([0.5, 1 / 3]).sqrt()
    expected = weights * 2 / weights.sum() * EIoULoss()(rows(predicted, target))
    torch.testing.assert_close(FocalEIoULoss(normalise_weights=True)(rows(predicted, target)), expected)


def test_normalised_weights_of_boxes_that_all_miss_cost_nothing():
    predicted, target = torch.tensor([APART[0]] * 3, requires_grad=True), torch.tensor([APART[1]] * 3)
    value = FocalEIoULoss(normalise_weights=True)(rows(predicted, target))
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
        loss(rows(predicted[share], target[share]))
    assert len(totals) == 3
    loss.sum_over_ranks = lambda local: torch.stack(totals).sum(dim=0)
    on_ranks = torch.cat([loss(rows(predicted[share], target[share])) for share in shares])
    whole = FocalEIoULoss(normalise_weights=True)(rows(predicted, target))
    torch.testing.assert_close(on_ranks, whole)
    assert not torch.allclose(whole[:25], FocalEIoULoss(normalise_weights=True)(rows(predicted[:25], target[:25])))


@pytest.mark.parametrize("name", EVERY)
def test_additive_says_whether_parts_of_a_batch_sum_to_the_whole(name):
    # Far apart as codes: beyond an error of 1 a code counts as before, below it does not.
    predicted, target = random_boxes(60, 1), random_boxes(60, 2)
    loss = EVERY[name]()
    parts = loss(rows(predicted[:10], target[:10])).sum() + loss(rows(predicted[10:], target[10:])).sum()
    assert loss.additive is torch.allclose(parts, EVERY[name]()(rows(predicted, target)).sum(), rtol=1e-9)
    assert loss.additive is (name not in NOT_ADDITIVE)


@pytest.mark.parametrize("name", EVERY)
def test_no_boxes_give_no_values_with_a_graph_and_leave_no_trace(name):
    predicted = torch.zeros(0, 4, requires_grad=True)
    loss = EVERY[name]()
    value = loss(rows(predicted, torch.zeros(0, 4)))
    value.sum().backward()
    assert value.shape == (0,)
    assert value.sum().item() == 0
    assert predicted.grad.shape == (0, 4)
    for buffer, untouched in zip(loss.buffers(), EVERY[name]().buffers(), strict=True):
        assert buffer.equal(untouched)


@pytest.mark.parametrize("name", EVERY)
def test_losses_never_read_a_value_on_the_host(name):
    # On the meta device there are no values: .item(), nonzero() and boolean indexing raise.
    predicted = torch.zeros(5, 4, device="meta", requires_grad=True)
    EVERY[name]().to("meta")(rows(predicted, torch.zeros(5, 4, device="meta"))).sum().backward()
    assert predicted.grad.shape == (5, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_rounded_predictions_are_compared_in_float32(name, dtype):
    anchors, objects = random_boxes(60, 1).float(), random_boxes(60, 2).float()
    deltas = torch.randn(60, 4, generator=torch.Generator().manual_seed(3)).to(dtype).requires_grad_()
    wide = deltas.detach().float().requires_grad_()
    values = [EVERY[name]()(BoxPairs(predicted, anchors, objects)) for predicted in (deltas, wide)]
    for value in values:
        value.sum().backward()
    assert values[0].dtype == torch.float32
    assert values[0].equal(values[1])
    assert deltas.grad.equal(wide.grad.to(dtype))


@pytest.mark.parametrize("name", EVERY)
def test_losses_ask_for_codes_or_for_boxes_and_never_for_both(name):
    boxes = random_boxes(5, 1)
    pairs = BoxPairs(torch.zeros_like(boxes), boxes, boxes)
    EVERY[name]()(pairs)
    assert {"codes", "boxes"} & set(vars(pairs)) == ({"boxes"} if name in OVERLAP else {"codes"})


@pytest.mark.parametrize("name", EVERY)
def test_losses_carry_their_weight_without_applying_it(name):
    heavy = type(EVERY[name]())(weight=3.0)
    assert heavy.weight == 3.0
    assert repr(heavy).endswith("weight=3.0)")
    predicted, target = random_boxes(5, 1), random_boxes(5, 2)
    torch.testing.assert_close(heavy(rows(predicted, target)), type(heavy)()(rows(predicted, target)))


@pytest.mark.parametrize(
    ("kind", "setting", "value", "text"),
    [
        *[(GIoULoss, "weight", value, f"at least 0, got {value}") for value in (-0.5, math.nan, math.inf)],
        (L1Loss, "weight", -1, "at least 0, got -1"),
        (SmoothL1Loss, "beta", math.nan, "at least 0, got nan"),
        (FocalEIoULoss, "gamma", -0.5, "at least 0"),
        (HuberLoss, "delta", 0.0, "greater than 0, got 0.0"),
        (BalancedL1Loss, "alpha", 0, "greater than 0"),
        (BalancedL1Loss, "gamma", 0, "greater than 0"),
        (FocalL1Loss, "beta", 0.3, "between 0.367879 and 1, got 0.3"),
        (FocalL1Loss, "beta", 1.1, "between 0.367879 and 1, got 1.1"),
        (AlphaIoULoss, "alpha", 0.0, "greater than 0"),
        (AlphaIoULoss, "alpha", math.inf, "greater than 0, got inf"),
        (SIoULoss, "theta", 0.5, "at least 1"),
        (WIoUv3Loss, "alpha", 0.9, "at least 1"),
        (WIoUv3Loss, "delta", 0.0, "greater than 0"),
        (WIoUv3Loss, "half_life", 0.0, "greater than 0"),
        (GHMRLoss, "mu", 0.0, "greater than 0"),
        (GHMRLoss, "bins", 0, "at least 1"),
        (GHMRLoss, "momentum", 1.0, "at least 0 and below 1, got 1.0"),
    ],
)
def test_impossible_settings_are_named(kind, setting, value, text):
    with pytest.raises(ValueError, match=rf"^{setting} must be {text}"):
        kind(**{setting: value})


def test_balanced_l1_of_a_gamma_far_above_alpha_is_refused():
    with pytest.raises(ValueError, match=r"gamma must be at most 40 times loss\.box\.alpha, got 30\.0 and 0\.5"):
        BalancedL1Loss(gamma=30.0)
