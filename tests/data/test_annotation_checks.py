"""What annotations of any format can have: counted by kind, the first five named."""

from __future__ import annotations

import numpy as np
import pytest

from retina.data.annotation_checks import Draft, usable_boxes
from retina.data.findings import Findings
from retina.data.flat_text import FlatText

SIZES = np.array([[100, 200], [50, 60]])


def draft(owner) -> Draft:
    owner = np.array(owner)
    return Draft(Findings("a"), np.array([7, 9]), FlatText(["a.jpg", "b.jpg"]), np.arange(len(owner)) + 100, owner)


def kinds(found: Draft) -> dict[str, int]:
    return {kind.name: count for kind, count in found.findings.counts.items() if count}


def test_usable_boxes_are_sorted_by_image_and_stay_in_order_within():
    boxes = np.array([[1, 1, 5, 5], [2, 2, 5, 5], [3, 3, 5, 5], [4, 4, 5, 5.0]])
    found = draft([1, 0, 1, 0])
    order, corners = usable_boxes(found, boxes, SIZES, "clip")
    assert order is not None
    assert order.tolist() == [1, 3, 0, 2]
    assert corners[0].tolist() == [1, 1, 6, 6]
    assert kinds(found) == {}


@pytest.mark.parametrize(("policy", "kept"), [("clip", [0, 5]), ("error", [0, 5]), ("drop", [5])])
def test_each_trouble_is_counted_under_its_kind(policy, kept):
    boxes = np.array([[55, 1, 10, 5], [np.nan, 1, 1, 1], [1, 1, 0, 1], [60, 1, 5, 5], [1, 1, -1, np.inf], [1, 1, 5, 5]])
    found = draft([1] * 6)
    order, _ = usable_boxes(found, boxes, SIZES, policy)
    assert order is not None
    assert order.tolist() == kept
    assert kinds(found) == {
        "box-not-finite": 2, "box-without-size": 1, "box-outside": 1, "box-leaves-image": 1, "boxes-mostly-unusable": 4,
    }  # fmt: skip
    assert str(found.place(3)) == "annotation 103, image 9 'b.jpg'"


def test_exactly_half_may_be_unusable():
    found = draft([0, 0])
    usable_boxes(found, np.array([[1, 1, 0, 0], [1, 1, 5, 5.0]]), SIZES, "clip")
    assert "boxes-mostly-unusable" not in kinds(found)


def test_boxes_that_all_stay_in_order_are_not_copied():
    assert usable_boxes(draft([0, 0, 1]), np.ones((3, 4)), SIZES, "clip")[0] is None
