"""The sum of box losses: its terms alone added up, shared measures, ranks and memory, mistakes in its terms."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import Tensor

from retina.boxes import decode_boxes, encode_boxes
from retina.detection.losses.box import BoxLoss, EIoULoss, FocalEIoULoss, GIoULoss, L1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.box_running import GHMRLoss, WIoUv3Loss
from retina.detection.losses.box_sum import BoxLossSum


def both_spaces(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predicted and target codes, predicted and target boxes, of anchors that overlap their objects."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    anchors = torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=generator) * 40], dim=1)
    deltas = torch.randn(count, 4, generator=generator) * 0.2
    codes = torch.randn(count, 4, generator=generator) * 0.2
    return deltas, codes, decode_boxes(deltas, anchors), decode_boxes(codes, anchors)


class Corners(BoxLoss):
    """A loss of boxes that is not made of measures of the pair."""

    space = "boxes"

    def per_box(self, predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).abs().amax(dim=1)


def test_the_sum_is_each_term_alone_times_its_weight():
    rows = both_spaces(30, 1)
    total = BoxLossSum({"l1": L1Loss(weight=0.5), "eiou": EIoULoss(weight=3.0), "corners": Corners(weight=0.1)})
    expected = 0.5 * L1Loss()(*rows[:2]) + 3.0 * EIoULoss()(*rows[2:]) + 0.1 * Corners()(*rows[2:])
    torch.testing.assert_close(total(*rows), expected)
    assert total(*rows).shape == (30,)


def test_one_term_of_weight_one_is_the_term_itself():
    rows = both_spaces(30, 2)
    assert BoxLossSum({"one": L1Loss()})(*rows).equal(L1Loss()(*rows[:2]))
    assert BoxLossSum({"one": GIoULoss()})(*rows).equal(GIoULoss()(*rows[2:]))


def test_a_term_of_weight_zero_has_no_say_and_the_weight_of_the_whole_is_left_to_the_criterion():
    rows = both_spaces(30, 3)
    assert BoxLossSum({"l1": L1Loss(), "giou": GIoULoss(weight=0.0)}, weight=7.0)(*rows).equal(L1Loss()(*rows[:2]))


def test_gradients_reach_the_codes_through_both_spaces():
    anchors = torch.tensor([[0.0, 0.0, 40.0, 20.0], [10.0, 5.0, 30.0, 60.0]])
    objects = torch.tensor([[5.0, 2.0, 38.0, 30.0], [0.0, 0.0, 30.0, 50.0]])
    target = encode_boxes(objects, anchors)
    gradients = []
    for weights in ((1.0, 2.0), (1.0, 0.0), (0.0, 2.0)):
        deltas = torch.full((2, 4), 0.05, requires_grad=True)
        total = BoxLossSum({"l1": L1Loss(weight=weights[0]), "eiou": EIoULoss(weight=weights[1])})
        total(deltas, target, decode_boxes(deltas, anchors), objects).sum().backward()
        gradients.append(deltas.grad)
    torch.testing.assert_close(gradients[0], gradients[1] + gradients[2])
    assert gradients[1].abs().min() > 0
    assert gradients[2].abs().min() > 0


def test_measures_of_the_pairs_are_computed_once_for_all_terms(monkeypatch):
    made = []
    original = BoxPairs.__init__
    monkeypatch.setattr(BoxPairs, "__init__", lambda self, *rows: (made.append(1), original(self, *rows))[1])
    BoxLossSum({"giou": GIoULoss(), "eiou": EIoULoss(), "wiou": WIoUv3Loss()})(*both_spaces(5, 4))
    assert len(made) == 1


def test_no_boxes_give_no_values_with_a_graph():
    deltas, boxes = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 4, requires_grad=True)
    terms = {"l1": L1Loss(), "ghm": GHMRLoss(), "wiou": WIoUv3Loss()}
    value = BoxLossSum(terms)(deltas, torch.zeros(0, 4), boxes, torch.zeros(0, 4))
    value.sum().backward()
    assert value.shape == (0,)
    assert deltas.grad is not None
    assert boxes.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounded_codes_are_compared_in_float32(dtype):
    deltas, codes, boxes, objects = both_spaces(30, 5)
    total = BoxLossSum({"l1": L1Loss(), "eiou": EIoULoss()})
    value = total(deltas.to(dtype), codes, boxes.to(dtype), objects)
    assert value.dtype == torch.float32
    assert value.equal(total(deltas.to(dtype).float(), codes, boxes.to(dtype).float(), objects))


def test_losses_never_read_a_value_on_the_host():
    rows = [torch.zeros(5, 4, device="meta", requires_grad=True) for _ in range(4)]
    BoxLossSum({"ghm": GHMRLoss(), "wiou": WIoUv3Loss()}).to("meta")(*rows).sum().backward()
    assert rows[0].grad.shape == rows[2].grad.shape == (5, 4)


def test_the_sum_is_additive_where_every_term_is():
    assert BoxLossSum({"l1": L1Loss(), "focal": FocalEIoULoss()}).additive is True
    assert BoxLossSum({"l1": L1Loss(), "focal": FocalEIoULoss(normalise_weights=True)}).additive is False


def test_summing_over_ranks_is_handed_to_the_terms_that_need_it():
    plain, focal, ghm = L1Loss(), FocalEIoULoss(normalise_weights=True), GHMRLoss()
    total = BoxLossSum({"plain": plain, "focal": focal, "ghm": ghm})
    assert total.sum_over_ranks is None
    asked = []
    total.sum_over_ranks = lambda local: asked.append(local.shape) or local
    assert plain.sum_over_ranks is None
    assert total.sum_over_ranks is focal.sum_over_ranks is ghm.sum_over_ranks
    total(*both_spaces(5, 6))
    assert asked == [(2,), (10,)]


def test_buffers_of_terms_stand_under_their_names_and_training_reaches_them():
    total = BoxLossSum({"l1": L1Loss(), "harmonised": GHMRLoss()})
    assert list(total.state_dict()) == ["terms.harmonised.bin_counts"]
    total.eval()
    total(*both_spaces(5, 7))
    assert total.state_dict()["terms.harmonised.bin_counts"].sum() == 0
    total.train()
    total(*both_spaces(5, 7))
    assert total.state_dict()["terms.harmonised.bin_counts"].sum() == 20


def test_the_sum_says_its_space_and_prints_its_terms():
    total = BoxLossSum({"l1": L1Loss(weight=2.0)}, weight=3.0)
    assert total.space == "both"
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
    with pytest.raises(ValueError, match=r"loss\.box\.weight must be at least 0 and finite, got -1"):
        BoxLossSum({"l1": L1Loss()}, weight=-1.0)


def test_codes_and_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(P, 4\), got \(3, 4\) and \(2, 4\)"):
        BoxLossSum({"l1": L1Loss()})(torch.zeros(3, 4), torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(3, 4))


@pytest.mark.parametrize("option", ["sum", "l1_eiou"])
def test_presets_build_into_the_sum_that_they_say(root, option):
    from hydra.utils import instantiate

    node = yaml.safe_load((root / f"configs/loss/box/{option}.yaml").read_text(encoding="utf-8"))
    assert node.pop("focal_gamma") is None  # the builder hands it to the criterion
    total = instantiate(node, _convert_="all")
    rows = both_spaces(8, 8)
    overlap = GIoULoss() if option == "sum" else EIoULoss()
    torch.testing.assert_close(total(*rows), L1Loss()(*rows[:2]) + overlap(*rows[2:]))
