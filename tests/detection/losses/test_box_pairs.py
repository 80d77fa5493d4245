"""Measures of box pairs, by hand, and the quotient that never divides by nothing."""

from __future__ import annotations

import re

import pytest
import torch

from retina.detection.losses.box_pairs import MIN_LOG_SCALE, NEGLIGIBLE, BoxPairs, divide_or_zero, positive_part

# Overlap 2 x 2; one box 4 x 2, the other 3 x 5; centres (2, 1) and (3.5, 2.5); together 5 x 5.
HALFWAY = BoxPairs.of_boxes(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 0.0, 5.0, 5.0]]))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("predicted_sizes", [[4.0, 2.0]]),
        ("true_sizes", [[3.0, 5.0]]),
        ("intersection", [4.0]),
        ("union", [8.0 + 15.0 - 4.0]),
        ("iou", [4.0 / 19.0]),
        ("enclosing_sizes", [[5.0, 5.0]]),
        ("enclosing_area", [25.0]),
        ("enclosing_diagonal_squared", [50.0]),
        ("center_offsets", [[-1.5, -1.5]]),
        ("center_distance_squared", [1.5**2 + 1.5**2]),
    ],
)
def test_measures_of_two_overlapping_boxes_are_those_computed_by_hand(measure, expected):
    torch.testing.assert_close(getattr(HALFWAY, measure), torch.tensor(expected))


def test_boxes_apart_or_touching_have_no_intersection():
    predicted = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    # The first lies apart along both axes: the product of two negative sides would be positive.
    target = torch.tensor([[3.0, 3.0, 4.0, 4.0], [1.0, 0.0, 2.0, 1.0], [0.0, 5.0, 1.0, 6.0]])
    assert BoxPairs.of_boxes(predicted, target).intersection.tolist() == [0.0, 0.0, 0.0]


def test_a_box_inside_out_along_both_axes_has_no_area():
    pairs = BoxPairs.of_boxes(torch.tensor([[4.0, 4.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
    assert pairs.union.item() == 4.0
    assert pairs.iou.item() == 0.0


def test_codes_and_boxes_are_those_of_the_anchors_each_made_once_and_only_where_it_is_read():
    anchors, objects = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 5.0, 15.0, 25.0]])
    deltas = torch.tensor([[0.5, 0.25, 0.0, 0.0]])
    pairs = BoxPairs(deltas, anchors, objects)
    assert not {"codes", "boxes"} & set(vars(pairs))
    assert pairs.codes[0].tolist() == pairs.codes[1].tolist() == deltas.tolist()
    assert pairs.code_errors.tolist() == [[0.0] * 4]
    assert "boxes" not in vars(pairs)
    assert pairs.boxes[0].tolist() == pairs.boxes[1].tolist() == objects.tolist()
    assert pairs.iou.tolist() == [1.0]
    assert pairs.codes is pairs.codes
    assert pairs.iou is pairs.iou


def test_an_object_without_width_has_a_finite_code_below_any_real_one():
    anchors, objects = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 5.0, 5.0, 25.0]])
    assert BoxPairs(torch.zeros(1, 4), anchors, objects).codes[1].tolist() == [[0.0, 0.25, MIN_LOG_SCALE, 0.0]]


def test_pairs_without_anchors_have_no_codes():
    assert HALFWAY.code_errors.isnan().all()


@pytest.mark.parametrize(
    "shapes", [[(3, 4), (2, 4), (3, 4)], [(3, 4), (3, 4), (2, 4)], [(4,)] * 3, [(3, 5)] * 3], ids=str
)
def test_rows_of_different_number_are_refused_naming_all(shapes):
    with pytest.raises(ValueError, match=r"must all have shape \(P, 4\), got " + re.escape(str(shapes))):
        BoxPairs(*(torch.zeros(shape) for shape in shapes))


def test_dividing_by_nothing_gives_zero_without_a_gradient():
    numerator = torch.tensor([6.0, 0.0, 5.0, 5.0, 5.0], requires_grad=True)
    denominator = torch.tensor([2.0, 0.0, 0.0, NEGLIGIBLE / 2, -3.0], requires_grad=True)
    quotient = divide_or_zero(numerator, denominator)
    quotient.sum().backward()
    assert quotient.tolist() == [3.0, 0.0, 0.0, 0.0, 0.0]
    assert numerator.grad.tolist() == [0.5, 0.0, 0.0, 0.0, 0.0]
    assert denominator.grad.tolist() == [-1.5, 0.0, 0.0, 0.0, 0.0]


def test_what_is_not_a_number_stays_so():
    nan = torch.tensor([float("nan")])
    assert divide_or_zero(torch.ones(1), nan).isnan().all()
    assert divide_or_zero(nan, torch.ones(1)).isnan().all()
    assert positive_part(nan).isnan().all()


def test_a_length_of_zero_still_learns_to_grow():
    lengths = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    part = positive_part(lengths)
    part.sum().backward()
    assert part.tolist() == [0.0, 0.0, 3.0]
    assert lengths.grad.tolist() == [0.0, 1.0, 1.0]
