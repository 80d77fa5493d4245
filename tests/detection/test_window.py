"""The windows must give the full table's outcome anchor by anchor: nothing is close enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.boxes import pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid, best_anchors, best_pairs
from retina.structures import BoxTargets

GENERATORS = {
    "default": AnchorGenerator(),
    "middle of the cell": AnchorGenerator(offset=0.5),
    "other shapes": AnchorGenerator((4, 16), base_scale=3.0, scales=(1, 1.7), aspect_ratios=(0.3, 1, 3.3)),
    "one anchor": AnchorGenerator((8,), scales=(1.0,), aspect_ratios=(1.0,)),
}
RULES = {
    "default": {},
    "thresholds only": {"match_every_box": False},
    "wide gap": {"positive_iou": 0.7, "negative_iou": 0.3},
    "no gap": {"positive_iou": 0.4, "negative_iou": 0.4},
}


def random_objects(seed: int) -> tuple[tuple[int, int], torch.Tensor]:
    """A canvas of odd size and boxes from under a pixel to larger than it, some outside, some in ties."""
    generator = torch.Generator().manual_seed(seed)
    height, width, count = (int(torch.randint(low, high, (1,), generator=generator))
                            for low, high in ((30, 500), (30, 500), (1, 25)))  # fmt: skip
    centers = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 1.3 - 20
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 6) * 0.7
    if seed % 3 == 0:  # whole even numbers: many anchors overlap a box exactly alike
        centers, sides = centers.round(), (sides / 2).ceil() * 2
    return (height, width), torch.cat([centers - sides / 2, centers + sides / 2], dim=1)


def targets_of(boxes: torch.Tensor, crowds: torch.Tensor | None = None) -> BoxTargets:
    return BoxTargets(boxes, torch.arange(len(boxes)), torch.zeros(0, 4) if crowds is None else crowds)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("generator", GENERATORS)
def test_windows_give_the_outcome_of_the_full_table(generator, rule):
    num_positives = num_forced = 0
    for seed in range(30):
        canvas, boxes = random_objects(seed)
        crowds = boxes[:1] + 3 if seed % 2 else None
        window, dense = (
            Assigner(GENERATORS[generator], assign=kind, **RULES[rule])(canvas, [targets_of(boxes, crowds)] * 2)
            for kind in ("window", "dense")
        )
        for name in ("positive_index", "positive_labels", "positive_boxes", "positive_anchors", "ignored_index"):
            assert torch.equal(getattr(window, name), getattr(dense, name)), (seed, name)
        num_positives += window.num_positives
        best = pairwise_iou(window.positive_boxes, window.positive_anchors).diagonal()
        num_forced += int((best < RULES[rule].get("positive_iou", 0.5)).sum())
    assert num_positives > 30
    if RULES[rule].get("match_every_box", True):
        assert num_forced > 30, "anchors that only the rule for every box makes positive are among them"


def test_every_pair_that_reaches_the_threshold_is_found_with_the_same_bits():
    for seed in range(20):
        canvas, boxes = random_objects(seed)
        grid = AnchorGrid(AnchorGenerator(), canvas)
        pairs = grid.pairs(boxes.numpy(), 0.4, best_of_box=False)
        iou = pairwise_iou(boxes, grid.anchors)
        found = torch.zeros_like(iou)
        found[torch.from_numpy(pairs.box), torch.from_numpy(pairs.anchor)] = torch.from_numpy(pairs.iou)
        reached = iou >= 0.4
        assert torch.equal(found[reached], iou[reached])
        assert len(pairs.iou) < iou.numel() / 10, "the windows are small"


def test_of_equal_overlaps_an_anchor_takes_the_first_box():
    box = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    grid = AnchorGrid(AnchorGenerator(), (64, 64))
    pairs = grid.pairs(box.repeat(3, 1).numpy(), 0.4, best_of_box=True)
    anchors, iou, boxes = best_pairs(pairs)
    assert len(anchors) > 0
    assert (boxes == 0).all()
    assert (np.diff(anchors) > 0).all()
    assert iou.max() == pairwise_iou(box, grid.anchors).max()


def test_boxes_that_no_anchor_overlaps_match_nothing():
    outside = torch.tensor([[5000.0, 5000.0, 5100.0, 5100.0], [-900.0, 0.0, -890.0, 10.0], [40.0, 40.0, 40.0, 60.0]])
    grid = AnchorGrid(AnchorGenerator((8, 16)), (128, 128))
    pairs = grid.pairs(outside.numpy(), 0.4, best_of_box=True)
    assert len(best_anchors(pairs, 3)) == 0


def test_an_unknown_way_of_assigning_is_refused():
    with pytest.raises(ValueError, match="anchors.assign must be window or dense, got 'fast'"):
        Assigner(assign="fast")
