from __future__ import annotations

import numpy as np
import torch

from retina.data.transforms.placing import Placement, Visibility, areas, join_targets, place_targets, targets_of

WHOLE = Placement((0, 0, 100, 50), (0, 0, 100, 50))


def targets(*boxes, crowds=()):
    return targets_of(np.array(boxes).reshape(-1, 4), np.arange(len(boxes)), np.array(crowds).reshape(-1, 4))


def test_boxes_are_scaled_from_the_window_to_the_place():
    placement = Placement((10, 20, 30, 60), (100, 0, 110, 80))  # half as wide, twice as high
    np.testing.assert_allclose(placement.corners(np.array([[12.0, 25, 20, 30]])), [[101, 10, 105, 20]])


def test_what_is_cut_off_too_much_becomes_a_crowd_region():
    half = Placement((0, 0, 50, 50), (0, 0, 50, 50))
    found = place_targets(
        targets([0, 0, 40, 40], [40, 0, 60, 10], [45, 0, 70, 10], [60, 0, 90, 10], crowds=[[40, 0, 100, 50]]),
        half,
        Visibility(0.5, 0),
    )
    assert found.labels.tolist() == [0, 1]  # all of it and half of it are seen
    assert found.boxes.tolist() == [[0, 0, 40, 40], [40, 0, 50, 10]]
    assert found.crowd_boxes.tolist() == [[40, 0, 50, 50], [45, 0, 50, 10]]  # a crowd, and a fifth of an object


def test_what_gets_too_thin_becomes_a_crowd_region():
    tenth = Placement((0, 0, 100, 50), (0, 0, 10, 5))
    found = place_targets(targets([0, 0, 19, 50], [20, 0, 40, 50]), tenth, Visibility(0, 2))
    assert found.labels.tolist() == [1]
    torch.testing.assert_close(found.crowd_boxes, torch.tensor([[0, 0, 1.9, 5]]))


def test_nothing_stays_nothing():
    found = place_targets(targets(), WHOLE, Visibility())
    assert found.boxes.shape == found.crowd_boxes.shape == (0, 4)
    assert found.labels.dtype == torch.int64


def test_join_keeps_the_order():
    joined = join_targets([targets([0, 0, 1, 1], crowds=[[5, 5, 6, 6]]), targets([2, 2, 3, 3])])
    assert joined.boxes.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert joined.labels.tolist() == [0, 0]
    assert joined.crowd_boxes.tolist() == [[5, 5, 6, 6]]


def test_a_box_turned_inside_out_has_no_area():
    assert areas(np.array([[5.0, 5, 2, 9], [0, 0, 2, 3]])).tolist() == [0, 6]
