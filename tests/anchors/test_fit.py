from __future__ import annotations

import math

import numpy as np
import pytest

from retina.anchors.coverage import NetworkBoxes, measure_coverage
from retina.anchors.fit import Gain, Objective, class_weights, fit_anchors, gain
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner

CANVAS = (256, 384)


def objects_of(sides: np.ndarray, seed: int = 0, labels: np.ndarray | None = None) -> NetworkBoxes:
    """Boxes of the given sides anywhere in images of ten boxes."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0.2, 0.8, (len(sides), 2)) * CANVAS[::-1]
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)
    image = np.arange(len(sides)) // 10
    return NetworkBoxes(
        boxes=boxes,
        image=image,
        canvases=np.tile(CANVAS, (image[-1] + 1, 1)),
        labels=np.zeros(len(sides), dtype=np.int64) if labels is None else labels,
        original_areas=sides.prod(axis=1),
    )


def wide_sides(count: int = 400, seed: int = 0) -> np.ndarray:
    """Widths and heights that the default anchors suit badly: wide and mostly small."""
    rng = np.random.default_rng(seed)
    size, ratio = np.exp(rng.normal(np.log(24), 0.6, count)), np.exp(rng.normal(-1.2, 0.3, count))
    return np.stack([size / np.sqrt(ratio), size * np.sqrt(ratio)], axis=1)


def objective_of(objects: NetworkBoxes, start: AnchorGenerator, goal: str = "iou", **values) -> Objective:
    weights = values.get("weights", np.ones(len(objects)))
    return Objective(objects, start, weights=weights, goal=goal, positive_iou=0.5)


@pytest.mark.parametrize("start", [AnchorGenerator(), AnchorGenerator((4, 32), offset=0.5, aspect_ratios=(0.4, 3.0))])
def test_the_nearest_anchors_score_as_the_exact_ones(start):
    objects = objects_of(wide_sides(300))
    exact = measure_coverage(Assigner(start), objects).best_iou
    np.testing.assert_allclose(objective_of(objects, start).best_iou(start), exact, atol=5e-6)


def test_boxes_beyond_the_last_cell_are_compared_with_the_last_anchors():
    objects = objects_of(np.full((40, 2), 20.0))
    boxes = objects.boxes + np.float32([150, 110, 150, 110])  # some leave the canvas
    moved = NetworkBoxes(boxes, objects.image, objects.canvases, objects.labels, objects.original_areas)
    exact = measure_coverage(Assigner(), moved).best_iou
    np.testing.assert_allclose(objective_of(moved, AnchorGenerator()).best_iou(AnchorGenerator()), exact, atol=5e-6)
    assert exact.min() < 0.1 * exact.max()


def test_shapes_that_boxes_were_made_of_are_found_again():
    true = AnchorGenerator((8, 16), base_scale=2.5, scales=(1.0, 1.4), aspect_ratios=(0.25, 0.7))
    shapes = np.concatenate([true.shapes(stride).numpy() for stride in true.strides])
    sides = np.tile(shapes[:, 2:] - shapes[:, :2], (60, 1)).astype(np.float64)
    objects = objects_of(sides)
    start = AnchorGenerator((8, 16), scales=(1.0, 1.5), aspect_ratios=(0.5, 2.0))
    objective = objective_of(objects, start)
    found = fit_anchors(objective, start, num_scales=2, num_ratios=2, seed=0)
    assert objective(found) >= objective(true) - 1e-3
    np.testing.assert_allclose([found.base_scale, *found.scales], [2.5, 1.0, 1.4], rtol=0.06)
    np.testing.assert_allclose(found.aspect_ratios, [0.25, 0.7], rtol=0.1)


@pytest.mark.parametrize("goal", ["iou", "share"])
def test_the_fit_is_better_for_boxes_that_the_default_does_not_suit_and_repeats_itself(goal):
    start = AnchorGenerator()
    objective = objective_of(objects_of(wide_sides()), start, goal)
    found = [fit_anchors(objective, start, num_scales=3, num_ratios=3, seed=7) for _ in range(2)]
    assert found[0] == found[1]
    assert objective(found[0]) > objective(start) + 0.05
    assert (found[0].strides, found[0].offset, found[0].num_per_cell) == (start.strides, start.offset, 9)
    other = objective_of(objects_of(wide_sides(seed=1), seed=1), start, goal)
    assert other(found[0]) > other(start) + 0.05, "also for boxes that it has not seen"


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_never_worse_than_its_start(seed):
    sides = np.exp(np.random.default_rng(seed).uniform(np.log(2), np.log(300), (10, 2)))
    start = AnchorGenerator(aspect_ratios=(0.5, 1.0))
    for goal in ("iou", "share"):
        objective = objective_of(objects_of(sides, seed), start, goal)
        found = fit_anchors(objective, start, num_scales=3, num_ratios=2, seed=seed)
        assert objective(found) >= objective(start)


def test_anchors_that_cannot_be_improved_are_returned_as_they_are():
    start = AnchorGenerator((8,), scales=(1.0,), aspect_ratios=(1.0,))
    anchors = start(start.grid_sizes(CANVAS))[100:140].numpy()
    objects = NetworkBoxes(anchors, np.zeros(40, int), np.array([CANVAS]), np.zeros(40, int), np.ones(40))
    assert fit_anchors(objective_of(objects, start), start, num_scales=1, num_ratios=1, seed=0) is start


@pytest.mark.parametrize(("num_scales", "num_ratios"), [(1, 1), (2, 5), (4, 1)])
def test_the_number_of_shapes_can_be_chosen(num_scales, num_ratios):
    start = AnchorGenerator()
    found = fit_anchors(objective_of(objects_of(wide_sides(60)), start), start, num_scales=num_scales,
                        num_ratios=num_ratios, seed=0)  # fmt: skip
    assert (len(found.scales), len(found.aspect_ratios)) == (num_scales, num_ratios)
    assert found.scales[0] == 1


def test_one_box_and_equal_boxes_are_no_error():
    for sides in (np.array([[30.0, 12.0]]), np.full((20, 2), 17.0)):
        objective = objective_of(objects_of(sides), AnchorGenerator())
        found = fit_anchors(objective, AnchorGenerator(), num_scales=3, num_ratios=3, seed=0)
        assert objective(found) > max(0.6, objective(AnchorGenerator()))


def test_a_rare_class_counts_as_much_as_a_frequent_one_where_asked():
    labels = np.repeat([0, 3], [390, 10])
    weights = class_weights(labels, balanced=True)
    assert weights[[0, -1]].tolist() == pytest.approx([400 / 780, 20])
    assert class_weights(labels, balanced=False).tolist() == [1.0] * 400
    objective = objective_of(objects_of(wide_sides(), labels=labels), AnchorGenerator(), weights=weights)
    iou = objective.best_iou(AnchorGenerator())
    assert objective(AnchorGenerator()) == pytest.approx((iou[:390].mean() + iou[390:].mean()) / 2, rel=1e-6)


def test_gain_is_the_weighted_mean_difference_with_the_error_of_its_images():
    before, after = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.6, 0.6, 0.5, 0.5])
    image = np.array([4, 4, 9, 9])
    found = gain(before, after, image=image, weights=np.ones(4))
    # Two images whose boxes gain 0.1 and 0: the error of a mean of two, as if each were one box.
    assert found.mean == pytest.approx(0.05)
    assert found.standard_error == pytest.approx(np.std([0.1, 0.0], ddof=1) / math.sqrt(2))
    assert not found.pays
    weighted = gain(before, after, image=image, weights=np.array([3.0, 3, 1, 1]))
    assert weighted.mean == pytest.approx(0.075)
    assert gain(before, after, image=np.zeros(4), weights=np.ones(4)).standard_error == math.inf


def test_a_gain_pays_where_it_is_neither_chance_nor_nothing():
    assert Gain(0.05, 0.01).pays
    assert not Gain(0.05, 0.03).pays
    assert not Gain(0.001, 0.00001).pays
    assert not Gain(0.05, math.inf).pays
    assert not Gain(-0.05, 0.001).pays


def test_an_unknown_goal_is_refused():
    with pytest.raises(ValueError, match="goal must be one of iou, share, got 'ap'"):
        objective_of(objects_of(wide_sides(4)), AnchorGenerator(), "ap")
