"""The windows must give the full table's outcome anchor by anchor: nothing is close enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.boxes import box_area, pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid, best_boxes, covered_anchors
from retina.structures import AnchorTargets, BoxTargets

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


def every_overlap(grid: AnchorGrid, boxes: torch.Tensor, threshold: float) -> tuple[torch.Tensor, int]:
    """``(N, A)`` IoU of the pairs that are found for ``threshold``, 0 elsewhere, and how many were computed."""
    areas = box_area(boxes.double()).numpy()[:, None] + grid.sides.prod(axis=0)
    needed = threshold / (1 + threshold) * areas
    table, computed = torch.zeros(len(boxes), len(grid.anchors)), 0
    for pairs in grid.overlaps(boxes.numpy(), needed, grid.longest(boxes.numpy())):
        anchor = torch.from_numpy(grid.anchor_of_slot[pairs.slot])
        table[torch.from_numpy(pairs.box), anchor] = torch.from_numpy(grid.iou(boxes.numpy(), pairs))
        computed += len(pairs.box)
    return table, computed


def assert_same(canvas: tuple[int, int], targets: BoxTargets, generator: AnchorGenerator, **rule) -> AnchorTargets:
    """Assert that the full table gives what the windows give, and return it."""
    window, dense = (Assigner(generator, assign=kind, **rule)(canvas, [targets]) for kind in ("window", "dense"))
    for name in ("positive_index", "positive_labels", "positive_boxes", "positive_anchors", "ignored_index"):
        assert torch.equal(getattr(window, name), getattr(dense, name)), name
    return window


def crowded(count: int, kind: str, seed: int = 0) -> torch.Tensor:
    """``count`` boxes of one kind in and around an image of 160 x 216 pixels."""
    generator = torch.Generator().manual_seed(seed)
    low, high = {"tiny": (0.5, 6.0), "mixed": (1.0, 300.0), "slivers": (0.3, 200.0), "equal": (24.0, 24.0)}[kind]
    sides = low * (high / low) ** torch.rand(count, 2, generator=generator)
    if kind == "slivers":
        sides[:, 1] = low
    centers = torch.rand(count, 2, generator=generator) * torch.tensor([240.0, 180.0]) - 10
    if kind == "equal":
        centers = (centers / 8).round() * 8
    return torch.cat([centers - sides / 2, centers + sides / 2], dim=1)


@pytest.mark.parametrize("kind", ["tiny", "mixed", "slivers", "equal"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_hundreds_of_boxes_give_the_outcome_of_the_full_table(generator, kind):
    boxes = crowded(400, kind)
    targets = assert_same((155, 211), targets_of(boxes), GENERATORS[generator])
    best = pairwise_iou(targets.positive_boxes, targets.positive_anchors).diagonal()
    assert targets.num_positives > 20
    if kind in ("tiny", "slivers"):
        assert (best < 0.4).sum() > 20, "anchors are among them whose best box is looked for below the thresholds"


def test_a_thousand_boxes_in_many_portions_give_the_outcome_of_the_full_table(monkeypatch):
    boxes = torch.cat([crowded(400, "tiny"), crowded(300, "mixed"), crowded(300, "equal")])
    boxes = boxes[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    whole = assert_same((155, 211), targets_of(boxes, boxes[:50]), AnchorGenerator())
    monkeypatch.setattr("retina.detection.window.PORTION", 100)
    parted = assert_same((155, 211), targets_of(boxes, boxes[:50]), AnchorGenerator())
    assert torch.equal(whole.positive_index, parted.positive_index)
    assert torch.equal(whole.ignored_index, parted.ignored_index)


@pytest.mark.parametrize(("negative_iou", "positive_iou"), [(1e-4, 1e-3), (0.05, 1.0), (1.0, 1.0), (0.7, 0.7)])
@pytest.mark.parametrize("match_every_box", [True, False])
def test_extreme_thresholds_give_the_outcome_of_the_full_table(negative_iou, positive_iou, match_every_box):
    rule = {"negative_iou": negative_iou, "positive_iou": positive_iou, "match_every_box": match_every_box}
    generator = AnchorGenerator(offset=0.5)
    exact = generator(generator.grid_sizes((100, 90)))[::97]  # overlaps of exactly 1
    targets = assert_same((100, 90), targets_of(torch.cat([crowded(30, "mixed"), exact])), generator, **rule)
    assert targets.num_positives >= len(exact)


@pytest.mark.parametrize("ulps", [1, 2, 3])
def test_boxes_that_share_a_rounding_error_with_two_anchors_get_both(ulps):
    # A gap of 0.128 px between neighbours, and boxes that reach as far into one as into the other: in float32, whose
    # edges are rounded; on the grid that they stand for, one of the two overlaps is up to twice the other.
    generator = AnchorGenerator((128,), base_scale=0.999, scales=(1.0,), aspect_ratios=(1.0,), offset=0.3)
    left, _, right, _ = generator(generator.grid_sizes((128, 8192))).unbind(dim=1)
    low, high = right[33:-1], left[34:]  # from 4096 px on, where numbers are 2^-11 apart
    low, high = low - ulps * 2.0**-11, high + ulps * 2.0**-11
    boxes = torch.stack([low, torch.full_like(low, 20.0), high, torch.full_like(low, 30.0)], dim=1)
    found = [assert_same((128, 8192), targets_of(box[None]), generator).num_positives for box in boxes]
    assert found.count(2) > len(found) / 2


def test_boxes_of_no_area_and_of_a_huge_one_stand_beside_others_without_changing_them():
    strange = torch.tensor([
        [40.0, 40, 40, 60], [50, 50, 50, 50], [60, 60, 50, 50], [70, 60, 50, 80], [-1e6, -1e6, 1e6, 1e6],
        [0, 0, 211, 155], [-1e5, 30, 1e5, 31], [5e3, 5e3, 6e3, 6e3], [99.99, 20, 100.01, 20.02], [1e-20, 0, 2e-20, 1],
    ])  # fmt: skip
    boxes = torch.cat([strange, crowded(20, "mixed"), strange])
    targets = assert_same((155, 211), targets_of(boxes), AnchorGenerator())
    labels = set(targets.positive_labels.tolist())
    assert labels & {0, 1, 2, 3, 7} == set(), "what overlaps no anchor is matched to none"
    assert len(labels & set(range(10, 30))) > 5
    assert max(labels) < 30, "of equal boxes the first is taken"


@pytest.mark.parametrize("least", [1e-3, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("generator", GENERATORS)
def test_crowds_cover_the_same_anchors_as_in_the_full_table(generator, least):
    crowds = torch.cat([crowded(40, "mixed", seed=3), crowded(20, "equal"), torch.tensor([[50.0, 50, 50, 90]])])
    objects = crowded(5, "mixed", seed=5)
    for boxes in (objects, torch.zeros(0, 4)):
        targets = assert_same((155, 211), targets_of(boxes, crowds), GENERATORS[generator], crowd_ignore=least)
        assert len(targets.ignored_index) > 0
    without = assert_same((155, 211), targets_of(objects, crowds), GENERATORS[generator], crowd_ignore=None)
    nothing = assert_same((155, 211), targets_of(objects), GENERATORS[generator], crowd_ignore=least)
    assert torch.equal(without.ignored_index, nothing.ignored_index)


def test_covered_anchors_are_counted_by_hand():
    tiles = AnchorGrid(AnchorGenerator((8,), base_scale=1.0, scales=(1.0,), aspect_ratios=(1.0,), offset=0.5), (16, 32))
    region = np.array([[4, 0, 17, 16]], dtype=np.float32)  # half of column 0, all of 1, an eighth of 2; both rows
    assert covered_anchors(tiles, region, 0.5).tolist() == [0, 1, 4, 5]
    assert covered_anchors(tiles, region, 0.51).tolist() == [1, 5]
    assert covered_anchors(tiles, region, 0.125).tolist() == [0, 1, 2, 4, 5, 6]


def test_every_pair_that_reaches_the_threshold_is_found_with_the_same_bits():
    for seed in range(20):
        canvas, boxes = random_objects(seed)
        grid = AnchorGrid(AnchorGenerator(), canvas)
        found, computed = every_overlap(grid, boxes, 0.4)
        iou = pairwise_iou(boxes, grid.anchors)
        assert torch.equal(found[iou >= 0.4], iou[iou >= 0.4])
        assert computed < 2 * int((iou >= 0.4).sum()) + 20, "little is computed in vain"


def test_slots_order_anchors_by_shape_and_then_by_cell():
    grid = AnchorGrid(AnchorGenerator((8, 16), scales=(1.0,), aspect_ratios=(1.0, 2.0)), (10, 20))
    # 2 x 3 cells of two shapes, then 1 x 2 cells.
    assert grid.anchor_of_slot.tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11, 12, 14, 13, 15]
    assert grid.first_slot.tolist() == [0, 6, 12, 14]


def test_of_equal_overlaps_an_anchor_takes_the_first_box():
    box = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    grid = AnchorGrid(AnchorGenerator(), (64, 64))
    best = best_boxes(grid, box.repeat(3, 1).numpy(), 0.4, match_every_box=True)
    assert len(best.anchor) > 0
    assert (best.box == 0).all()
    assert (np.diff(best.anchor) > 0).all()
    assert best.iou.max() == pairwise_iou(box, grid.anchors).max()


def test_a_forced_anchor_goes_to_the_box_that_overlaps_it_most_below_the_threshold():
    # Two anchors of 32 px. The small box has only the first one, by 1/64; the other one overlaps that one more.
    grid = AnchorGrid(AnchorGenerator((32,), base_scale=1.0, scales=(1.0,), aspect_ratios=(1.0,), offset=0.5), (32, 64))
    small, other = [4.0, 4, 8, 8], [20.0, 4, 60, 36]  # `other` overlaps the second anchor most
    best = best_boxes(grid, np.array([small, other], dtype=np.float32), 0.4, match_every_box=True)
    dense = pairwise_iou(torch.tensor([small, other]), grid.anchors)
    assert best.anchor.tolist() == [0, 1]
    assert best.box.tolist() == dense.argmax(dim=0).tolist() == [1, 1]
    assert best.forced.tolist() == [True, True]
    assert best.iou.tolist() == dense.amax(dim=0).tolist()


def test_boxes_that_no_anchor_overlaps_match_nothing():
    outside = np.array([[5000, 5000, 5100, 5100], [-900, 0, -890, 10], [40, 40, 40, 60]], dtype=np.float32)
    grid = AnchorGrid(AnchorGenerator((8, 16)), (128, 128))
    assert len(best_boxes(grid, outside, 0.4, match_every_box=True).anchor) == 0
    assert len(covered_anchors(grid, outside, 0.5)) == 0


def test_an_unknown_way_of_assigning_is_refused():
    with pytest.raises(ValueError, match="assign must be one of window, dense, got 'fast'"):
        Assigner(assign="fast")
