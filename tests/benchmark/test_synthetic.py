"""Synthetic images, objects and scores."""

from __future__ import annotations

import torch

from retina.benchmark.synthetic import SparseScores, synthetic_images, synthetic_scores, synthetic_targets
from retina.boxes import box_area, pairwise_iou
from retina.detection.anchors import AnchorGenerator

CANVAS = (256, 320)


def test_images_look_like_those_of_the_loader() -> None:
    images = synthetic_images(2, CANVAS)
    assert images.pixels.shape == (2, 3, *CANVAS)
    assert images.pixels.dtype == torch.uint8
    assert images.pixels.is_contiguous(memory_format=torch.channels_last)
    assert images.sizes.tolist() == [[256, 320]] * 2
    assert images.pixels.float().std() > 60


def test_boxes_lie_inside_the_image_and_have_an_area() -> None:
    objects = synthetic_targets(3, CANVAS, num_boxes=200, num_classes=7)
    assert len(objects) == 3
    for targets in objects:
        assert targets.boxes.shape == (200, 4)
        assert targets.boxes.min() >= 0
        assert (targets.boxes[:, 2:] <= torch.tensor([320.0, 256.0]) + 1e-3).all()
        assert box_area(targets.boxes).min() > 200
        assert set(targets.labels.tolist()) == set(range(7))
    assert not torch.equal(objects[0].boxes, objects[1].boxes)


def test_the_same_seed_gives_the_same_objects() -> None:
    first, second, other = (
        synthetic_targets(1, CANVAS, num_boxes=5, num_classes=7, seed=seed)[0].boxes for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_scores_fall_with_the_overlap_from_nine_tenths_to_the_threshold() -> None:
    generator = AnchorGenerator()
    anchors = generator(generator.grid_sizes(CANVAS))
    (targets,) = synthetic_targets(1, CANVAS, num_boxes=4, num_classes=7)
    found = synthetic_scores(anchors, targets, num_classes=7, num_clutter=0)
    scores = found.logits.sigmoid()
    iou = pairwise_iou(targets.boxes, anchors)
    for box, label in zip(range(4), targets.labels, strict=True):
        best = iou[box].argmax()
        here = (found.anchor_index == best) & (found.labels == label)
        assert 0.88 < scores[here].max() < 0.9001
    assert scores.min() >= 0.05 - 1e-6
    assert len(scores.unique()) == len(scores)  # ties may be decided either way
    assert 50 < len(scores) < 5000


def test_clutter_is_weak_and_lies_on_anchors_of_its_own() -> None:
    generator = AnchorGenerator()
    anchors = generator(generator.grid_sizes(CANVAS))
    (targets,) = synthetic_targets(1, CANVAS, num_boxes=2, num_classes=7)
    plain = synthetic_scores(anchors, targets, num_classes=7, num_clutter=0)
    found = synthetic_scores(anchors, targets, num_classes=7, num_clutter=30)
    clutter = slice(len(plain.logits), None)
    assert 20 <= len(found.logits[clutter]) <= 30
    assert found.logits[clutter].sigmoid().max() < 0.3
    assert not torch.isin(found.anchor_index[clutter], plain.anchor_index).any()


def test_scores_are_written_into_every_image_and_nowhere_else() -> None:
    logits = torch.full((2, 5, 3), -4.0, dtype=torch.bfloat16)
    SparseScores(torch.tensor([0, 4]), torch.tensor([2, 1]), torch.tensor([1.0, 2.0])).write_to(logits)
    assert logits[:, 0, 2].tolist() == [1.0, 1.0]
    assert logits[:, 4, 1].tolist() == [2.0, 2.0]
    assert int((logits == -4).sum()) == 2 * 5 * 3 - 4


def test_scores_take_the_place_of_a_subnets_own() -> None:
    subnet = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 1), torch.nn.Flatten(1), torch.nn.Unflatten(1, (8, 3)))
    torch.nn.init.constant_(subnet[0].bias, -4.0)
    scores = SparseScores(torch.tensor([5]), torch.tensor([2]), torch.tensor([2.0]))
    scores.take_the_place_of(subnet[0], subnet)
    logits = subnet(torch.randn(1, 4, 2, 2))
    assert logits[0, 5, 2] == 2.0
    assert int((logits == -4.0).sum()) == 23
