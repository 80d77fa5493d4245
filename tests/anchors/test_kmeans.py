from __future__ import annotations

import numpy as np
import pytest

from retina.anchors.kmeans import iou_kmeans, proposals, shape_iou
from retina.boxes import pairwise_iou
from retina.detection.anchors import AnchorGenerator

SHAPES = np.array([[20.0, 10], [16, 32], [100, 100], [60, 240]])


def spread(shapes: np.ndarray, seed: int = 0, noise: float = 0.03) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(shapes, 50, axis=0) * np.exp(rng.normal(0, noise, (50 * len(shapes), 2)))


def ascending(shapes: np.ndarray) -> np.ndarray:
    return shapes[np.lexsort((shapes[:, 1], shapes[:, 0]))]


def test_overlap_of_shapes_is_that_of_boxes_on_one_centre():
    import torch

    sides = torch.from_numpy(spread(SHAPES)[::17])
    boxes = torch.cat([-sides / 2, sides / 2], dim=1)
    np.testing.assert_allclose(shape_iou(sides.numpy(), sides.numpy()), pairwise_iou(boxes, boxes), rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_found_again(seed):
    sides = spread(SHAPES)
    found = iou_kmeans(sides, 4, weights=np.ones(len(sides)), seed=seed)
    np.testing.assert_allclose(ascending(found), ascending(SHAPES), rtol=0.03)


def test_weights_count_as_repetitions():
    sides = np.array([[10.0, 10], [10, 10], [10, 10], [14, 10]])
    once = iou_kmeans(sides[2:], 1, weights=np.array([3.0, 1.0]), seed=0)
    np.testing.assert_allclose(once, iou_kmeans(sides, 1, weights=np.ones(4), seed=0))
    np.testing.assert_allclose(once, [[10 * 1.4**0.25, 10]])


def test_more_clusters_than_different_boxes_are_no_error():
    found = iou_kmeans(np.array([[8.0, 8], [8, 8], [30, 15]]), 5, weights=np.ones(3), seed=0)
    assert found.shape == (5, 2)
    assert {tuple(shape) for shape in found.tolist()} == {(8.0, 8.0), (30.0, 15.0)}


def test_the_outcome_is_a_function_of_the_seed():
    sides = spread(SHAPES, noise=0.6)
    first, again, other = (iou_kmeans(sides, 6, weights=np.ones(len(sides)), seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_proposals_keep_strides_offset_and_the_number_of_anchors():
    start = AnchorGenerator((8, 16, 32), offset=0.5)
    found = proposals(start, spread(SHAPES), weights=np.ones(200), seed=0, num_scales=2, num_ratios=4)
    assert len(found) == 4
    for generator in found:
        assert (generator.strides, generator.offset) == ((8, 16, 32), 0.5)
        assert (len(generator.scales), len(generator.aspect_ratios)) == (2, 4)
        assert generator.scales[0] == 1
        assert list(generator.aspect_ratios) == sorted(generator.aspect_ratios)
