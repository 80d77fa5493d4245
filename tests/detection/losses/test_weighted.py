"""Sums of box losses: their terms alone added up, ranks and memory, mistakes in the terms; focal weights of boxes."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import Tensor

from retina import distributed
from retina.commands.assemble import build_criterion
from retina.detection.losses.box import BoxLoss, L1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.overlap import EIoULoss, FocalEIoULoss, GIoULoss
from retina.detection.losses.running import GHMRLoss, WIoUv3Loss
from retina.detection.losses.weighted import BoxLossSum, FocalWeights


def random_pairs(count: int, seed: int, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> BoxPairs:
    """Pairs of anchors that overlap their objects."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    anchors = torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=generator) * 40], dim=1)
    deltas = (torch.randn(count, 4, generator=generator) * 0.2).to(device, dtype).requires_grad_()
    objects = anchors + torch.randn(count, 4, generator=generator) * 3
    return BoxPairs(deltas, anchors.to(device), objects.to(device))


class Corners(BoxLoss):
    """A loss of boxes that is not made of measures of the pair."""

    def per_box(self, pairs: BoxPairs) -> Tensor:
        predicted, true = pairs.boxes
        return (predicted - true).abs().amax(dim=1)


def test_the_sum_is_each_term_alone_times_its_weight():
    pairs = random_pairs(30, 1)
    total = BoxLossSum({"l1": L1Loss(weight=0.5), "eiou": EIoULoss(weight=3.0), "corners": Corners(weight=0.1)})
    expected = 0.5 * L1Loss()(pairs) + 3.0 * EIoULoss()(pairs) + 0.1 * Corners()(pairs)
    torch.testing.assert_close(total(pairs), expected)
    assert total(pairs).shape == (30,)


def test_one_term_of_weight_one_is_the_term_itself():
    pairs = random_pairs(30, 2)
    assert BoxLossSum({"one": L1Loss()})(pairs).equal(L1Loss()(pairs))
    assert BoxLossSum({"one": GIoULoss()})(pairs).equal(GIoULoss()(pairs))


def test_a_term_of_weight_zero_has_no_say_and_the_weight_of_the_whole_is_left_to_the_criterion():
    pairs = random_pairs(30, 3)
    assert BoxLossSum({"l1": L1Loss(), "giou": GIoULoss(weight=0.0)}, weight=7.0)(pairs).equal(L1Loss()(pairs))


def test_gradients_reach_the_codes_through_both_spaces():
    anchors = torch.tensor([[0.0, 0.0, 40.0, 20.0], [10.0, 5.0, 30.0, 60.0]])
    objects = torch.tensor([[5.0, 2.0, 38.0, 30.0], [0.0, 0.0, 30.0, 50.0]])
    gradients = []
    for weights in ((1.0, 2.0), (1.0, 0.0), (0.0, 2.0)):
        deltas = torch.full((2, 4), 0.05, requires_grad=True)
        total = BoxLossSum({"l1": L1Loss(weight=weights[0]), "eiou": EIoULoss(weight=weights[1])})
        total(BoxPairs(deltas, anchors, objects)).sum().backward()
        gradients.append(deltas.grad)
    torch.testing.assert_close(gradients[0], gradients[1] + gradients[2])
    assert gradients[1].abs().min() > 0
    assert gradients[2].abs().min() > 0


def test_no_boxes_give_no_values_with_a_graph():
    pairs = random_pairs(0, 4)
    value = BoxLossSum({"l1": L1Loss(), "ghm": GHMRLoss(), "wiou": WIoUv3Loss()})(pairs)
    value.sum().backward()
    assert value.shape == (0,)
    assert pairs.deltas.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounded_codes_are_compared_in_float32(dtype):
    pairs = random_pairs(30, 5, dtype=dtype)
    total = BoxLossSum({"l1": L1Loss(), "eiou": EIoULoss()})
    assert total(pairs).dtype == torch.float32
    assert total(pairs).equal(total(BoxPairs(pairs.deltas.float(), pairs.anchors, pairs.objects)))


def test_losses_never_read_a_value_on_the_host():
    pairs = random_pairs(5, 4, device="meta")
    BoxLossSum({"ghm": GHMRLoss(), "wiou": WIoUv3Loss()}).to("meta")(pairs).sum().backward()
    assert pairs.deltas.grad.shape == (5, 4)


def test_the_sum_is_additive_where_every_term_is():
    assert BoxLossSum({"l1": L1Loss(), "focal": FocalEIoULoss()}).additive is True
    assert BoxLossSum({"l1": L1Loss(), "focal": FocalEIoULoss(normalise_weights=True)}).additive is False


def test_the_terms_that_need_it_are_told_how_to_sum_over_ranks(monkeypatch):
    plain, focal, ghm = L1Loss(), FocalEIoULoss(normalise_weights=True), GHMRLoss()
    total = BoxLossSum({"plain": plain, "focal": focal, "ghm": ghm})
    asked = []
    monkeypatch.setattr(distributed, "sum_tensor_over_ranks", lambda local: asked.append(local.shape) or local)
    build_criterion({"classification": FocalLoss(), "box": total})
    assert plain.sum_over_ranks is None
    total(random_pairs(5, 6))
    assert asked == [(2,), (10,)]


def test_buffers_of_terms_stand_under_their_names_and_training_reaches_them():
    total = BoxLossSum({"l1": L1Loss(), "harmonised": GHMRLoss()})
    assert list(total.state_dict()) == ["terms.harmonised.bin_counts"]
    total.eval()
    total(random_pairs(5, 7))
    assert total.state_dict()["terms.harmonised.bin_counts"].sum() == 0
    total.train()
    total(random_pairs(5, 7))
    assert total.state_dict()["terms.harmonised.bin_counts"].sum() == 20


def test_the_sum_prints_its_terms():
    total = BoxLossSum({"l1": L1Loss(weight=2.0)}, weight=3.0)
    assert total.weight == 3.0
    assert "weight=3.0" in repr(total)
    assert "(l1): L1Loss(weight=2.0)" in repr(total)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({}, "loss.box.terms must have at least one term"),
        ({"l1": 2.0}, "loss.box.terms.l1 must be one box loss with a _target_ of its own, got float"),
        ({"l1": {"weight": 2.0}}, "loss.box.terms.l1 must be one box loss with a _target_ of its own, got dict"),
        ({"inner": BoxLossSum({"l1": L1Loss()})}, "loss.box.terms.inner must be one box loss .* got BoxLossSum"),
        ({"a.b": L1Loss()}, "'a.b' cannot be the name of a term"),
        ({"values": L1Loss()}, "'values' cannot be the name of a term"),
    ],
)
def test_mistakes_in_terms_are_named(terms, text):
    with pytest.raises(ValueError, match=text):
        BoxLossSum(terms)


def test_an_impossible_weight_is_named():
    with pytest.raises(ValueError, match=r"weight must be at least 0, got -1"):
        BoxLossSum({"l1": L1Loss()}, weight=-1.0)


@pytest.mark.parametrize("option", ["sum", "l1_eiou"])
def test_presets_build_into_the_sum_that_they_say(root, option):
    from hydra.utils import instantiate

    node = yaml.safe_load((root / f"configs/loss/box/{option}.yaml").read_text(encoding="utf-8"))
    node.pop("focal_gamma", None)  # the builder hands it to the criterion
    total = instantiate(node, _convert_="all")
    pairs = random_pairs(8, 8)
    overlap = GIoULoss() if option == "sum" else EIoULoss()
    torch.testing.assert_close(total(pairs), L1Loss()(pairs) + overlap(pairs))


def test_weights_are_the_focal_factors_over_their_mean_computed_by_hand():
    weights = FocalWeights(2.0)(torch.tensor([0.1, 0.3, 0.0]))
    assert weights.tolist() == pytest.approx([0.01 * 30, 0.09 * 30, 0.0])
    assert weights.mean().item() == pytest.approx(1.0)


def test_a_focal_gamma_of_zero_weighs_all_boxes_the_same():
    assert FocalWeights(0.0)(torch.tensor([0.0, 0.5, 1.0])).tolist() == [1, 1, 1]


def test_focal_weights_have_no_gradient():
    assert not FocalWeights(1.0)(torch.rand(3, requires_grad=True)).requires_grad


@pytest.mark.parametrize("miss", [torch.zeros(3), torch.zeros(0)], ids=["certain", "no positives"])
def test_where_there_is_nothing_to_weigh_focal_weights_are_finite(miss):
    assert torch.isfinite(FocalWeights(2.0)(miss)).all()


def test_the_mean_of_focal_weights_is_that_of_all_ranks():
    weights, asked = FocalWeights(1.0), []
    weights.sum_over_ranks = lambda totals: asked.append(totals) or totals + torch.tensor([2.4, 3.0])
    assert weights(torch.tensor([0.2, 0.4])).tolist() == pytest.approx([0.2 / 0.6, 0.4 / 0.6])
    weights(torch.zeros(0))
    assert len(asked) == 2, "also a rank without positives is asked"


@pytest.mark.parametrize("gamma", [-1.0, float("inf"), float("nan")])
def test_an_impossible_focal_gamma_is_named(gamma):
    with pytest.raises(ValueError, match=r"gamma must be at least 0, got"):
        FocalWeights(gamma)
