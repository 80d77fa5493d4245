from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import BACKGROUND, IGNORE, Assigner
from retina.detection.window import AnchorGrid
from retina.structures import AnchorTargets, BoxTargets

CANVAS = (96, 128)

# One square anchor of 8 px on every 8 px of the image, so that overlaps are counted by hand.
TILES = AnchorGenerator(strides=(8,), base_scale=1.0, scales=(1.0,), aspect_ratios=(1.0,), offset=0.5)
FOUR_TILES = (8, 32)


def objects(boxes: Sequence[Sequence[float]], crowds: Sequence[Sequence[float]] = ()) -> BoxTargets:
    """Objects of the classes 10, 11, ..., so that a label is not mistaken for an index."""
    return BoxTargets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(10, 10 + len(boxes)),
        torch.tensor(crowds, dtype=torch.float32).reshape(-1, 4),
    )


def random_objects(seed: int) -> BoxTargets:
    """Objects of 1..120 px in, across and outside the canvas, some twice and some on the anchors' own symmetry."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 12, (1,), generator=generator))
    corner = torch.rand(count, 2, generator=generator) * 160 - 20
    size = 1 + 119 * torch.rand(count, 2, generator=generator) ** 2
    boxes = torch.cat([corner, corner + size], dim=1)
    boxes = torch.cat([boxes, boxes[:1], boxes[-1:].round(), torch.tensor([[500.0, 500.0, 520.0, 530.0]])])
    return objects(boxes[torch.randperm(len(boxes), generator=generator)].tolist())


def full_match(assigner: Assigner, targets: BoxTargets, canvas: tuple[int, int]) -> Tensor:
    """``(A,)`` index of the matched object, or BACKGROUND, or IGNORE."""
    grid = AnchorGrid(assigner.anchors, canvas)
    positive, own_best, ignored = assigner.match(grid, targets)
    match = torch.full((len(grid.anchors),), BACKGROUND)
    match[ignored] = IGNORE
    match[positive] = own_best
    return match


def match_of(assigner: Assigner, targets: BoxTargets) -> list[int]:
    return full_match(assigner, targets, FOUR_TILES).tolist()


def torchvisions_match(anchors: Tensor, boxes: Tensor, *, match_every_box: bool) -> Tensor:
    """Torchvision's matcher without the boxes that meet no anchor at all, which it would give every anchor."""
    iou = box_iou(boxes, anchors)
    met = (iou.amax(dim=1) > 0).nonzero().squeeze(1)
    if len(met) == 0:
        return torch.full((len(anchors),), BACKGROUND)
    match = Matcher(0.5, 0.4, allow_low_quality_matches=match_every_box)(iou[met])
    return torch.where(match >= 0, met[match.clamp(min=0)], match)


def dense(targets: AnchorTargets, num_anchors: int) -> Tensor:
    """``(A,)`` label of each anchor, or BACKGROUND, or IGNORE."""
    labels = torch.full((num_anchors,), BACKGROUND)
    labels[targets.ignored_index] = IGNORE
    labels[targets.positive_index] = targets.positive_labels
    return labels


@pytest.mark.parametrize("assign", ["window", "dense"])
@pytest.mark.parametrize("match_every_box", [True, False])
def test_the_match_is_torchvisions_on_random_objects(match_every_box, assign):
    assert (Matcher.BELOW_LOW_THRESHOLD, Matcher.BETWEEN_THRESHOLDS) == (BACKGROUND, IGNORE)
    generator = AnchorGenerator()
    anchors = generator(generator.grid_sizes(CANVAS))
    assigner = Assigner(generator, match_every_box=match_every_box, assign=assign)
    positive = ignored = 0
    for seed in range(60):
        targets = random_objects(seed)
        expected = torchvisions_match(anchors, targets.boxes, match_every_box=match_every_box)
        assert torch.equal(full_match(assigner, targets, CANVAS), expected), f"seed {seed}"
        positive, ignored = positive + int((expected >= 0).sum()), ignored + int((expected == IGNORE).sum())
    assert positive > 500
    assert ignored > 500


def test_the_sparse_targets_say_what_the_match_says():
    generator = AnchorGenerator()
    anchors = generator(generator.grid_sizes(CANVAS))
    assigner = Assigner(generator)
    for seed in range(10):
        targets = random_objects(seed)
        sparse = assigner(CANVAS, [targets])
        match = torchvisions_match(anchors, targets.boxes, match_every_box=True)
        assert torch.equal(dense(sparse, len(anchors)), torch.where(match >= 0, match + 10, match))
        assert torch.equal(sparse.positive_boxes, targets.boxes[match[match >= 0]])
        assert torch.equal(sparse.positive_anchors, anchors[match >= 0])


def test_an_anchor_is_positive_ignored_or_background_by_its_overlap():
    # Overlaps of the four tiles with their box: 1, 1/2, 1/4 and 1/8.
    boxes = [[0, 0, 8, 8], [8, 0, 16, 4], [16, 0, 24, 2], [24, 0, 32, 1]]
    assigner = Assigner(TILES, positive_iou=0.5, negative_iou=0.25, match_every_box=False)
    assert match_of(assigner, objects(boxes)) == [0, 1, IGNORE, BACKGROUND]


def test_every_object_gets_its_best_anchor_however_little_they_overlap():
    assert match_of(Assigner(TILES), objects([[24, 0, 32, 1]])) == [BACKGROUND, BACKGROUND, BACKGROUND, 0]


def test_anchors_that_tie_for_an_object_all_get_it():
    # Half in one tile and half in the next: an overlap of 1/3 with both.
    assert match_of(Assigner(TILES), objects([[4, 0, 12, 8]])) == [0, 0, BACKGROUND, BACKGROUND]


def test_objects_that_tie_for_an_anchor_leave_it_to_the_first():
    assert match_of(Assigner(TILES), objects([[8, 0, 16, 8], [8, 0, 16, 8]])) == [BACKGROUND, 0, BACKGROUND, BACKGROUND]


def test_an_anchor_added_for_one_object_keeps_its_own_best_object():
    # The thin second object has no better anchor than tile 0, which overlaps the first object more.
    assert match_of(Assigner(TILES), objects([[0, 0, 8, 8], [0, 0, 8, 1]])) == [0, BACKGROUND, BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("outside", [[100, 100, 110, 110], [-20, 0, -10, 8], [4, 4, 4, 4]])
def test_an_object_that_meets_no_anchor_changes_nothing(outside):
    assert match_of(Assigner(TILES), objects([outside])) == [BACKGROUND] * 4
    with_another = match_of(Assigner(TILES), objects([outside, [0, 0, 8, 8]]))
    assert with_another == [1, BACKGROUND, BACKGROUND, BACKGROUND]


def test_a_crowd_ignores_what_is_not_positive():
    boxes = [[0, 0, 8, 8], [8, 0, 16, 3.6]]  # positive; 0.45, between the thresholds
    everywhere = [[0, 0, 32, 8]]
    assigner = Assigner(TILES, match_every_box=False)
    assert match_of(assigner, objects(boxes)) == [0, IGNORE, BACKGROUND, BACKGROUND]
    assert match_of(assigner, objects(boxes, everywhere)) == [0, IGNORE, IGNORE, IGNORE]


def test_a_crowd_ignores_anchors_from_half_their_area_on_whatever_its_own_size():
    # The crowd covers all of tile 0, half of tile 1, and a little of tile 3 by another region.
    crowds = [[0, 0, 12, 8], [24, 0, 27, 8]]
    assert match_of(Assigner(TILES), objects([], crowds)) == [IGNORE, IGNORE, BACKGROUND, BACKGROUND]
    assert match_of(Assigner(TILES, crowd_ignore=0.25), objects([], crowds)) == [IGNORE, IGNORE, BACKGROUND, IGNORE]
    assert match_of(Assigner(TILES, crowd_ignore=1.0), objects([], crowds)) == [IGNORE] + [BACKGROUND] * 3
    assert match_of(Assigner(TILES, crowd_ignore=None), objects([], crowds)) == [BACKGROUND] * 4


def test_halves_of_two_crowds_do_not_add_up():
    crowds = [[0, 0, 3, 8], [5, 0, 8, 8]]
    assert match_of(Assigner(TILES), objects([], crowds)) == [BACKGROUND] * 4


def test_the_anchors_of_a_batch_are_counted_image_after_image():
    assigner, images = Assigner(), [random_objects(1), BoxTargets.empty(), random_objects(2)]
    num_anchors = len(assigner.anchors(assigner.anchors.grid_sizes(CANVAS)))
    batch = assigner(CANVAS, images)
    alone = [assigner(CANVAS, [targets]) for targets in images]
    for name in ("positive_index", "ignored_index"):
        counted = torch.cat([getattr(targets, name) + i * num_anchors for i, targets in enumerate(alone)])
        assert torch.equal(getattr(batch, name), counted)
        assert getattr(batch, name).dtype == torch.int64
        assert (getattr(batch, name).diff() > 0).all()
    for name in ("positive_labels", "positive_boxes", "positive_anchors"):
        assert torch.equal(getattr(batch, name), torch.cat([getattr(targets, name) for targets in alone]))
    assert batch.num_positives > 10


def test_images_without_objects_are_all_background():
    targets = Assigner()(CANVAS, [BoxTargets.empty(), BoxTargets.empty()])
    assert targets.num_positives == len(targets.ignored_index) == 0
    assert targets.positive_boxes.shape == targets.positive_anchors.shape == (0, 4)
    assert targets.positive_labels.dtype == torch.int64


def test_settings_may_be_lists_as_configuration_files_give_them():
    lists = AnchorGenerator(strides=[8], base_scale=1.0, scales=[1.0], aspect_ratios=[1.0], offset=0.5)
    targets = Assigner(lists)(FOUR_TILES, [objects([[8, 0, 16, 8]])])
    assert targets.positive_index.tolist() == [1]
    assert targets.positive_labels.tolist() == [10]


def test_targets_do_not_share_memory_with_the_kept_anchors():
    first = Assigner(TILES)(FOUR_TILES, [objects([[8, 0, 16, 8]])])
    first.positive_anchors.zero_()
    again = Assigner(TILES)(FOUR_TILES, [objects([[8, 0, 16, 8]])])
    assert again.positive_anchors.tolist() == [[8, 0, 16, 8]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"negative_iou": 0.6}, r"negative_iou must be at most positive_iou \(0\.5\), got 0\.6"),
        ({"negative_iou": 0.0}, r"negative_iou must be greater than 0 and at most 1, got 0\.0"),
        ({"positive_iou": 1.5}, r"positive_iou must be greater than 0 and at most 1, got 1\.5"),
        ({"positive_iou": float("nan")}, r"positive_iou must be greater than 0 and at most 1, got nan"),
        ({"crowd_ignore": 0.0}, r"crowd_ignore must be greater than 0 and at most 1, got 0\.0"),
    ],
)
def test_thresholds_out_of_order_or_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Assigner(**values)
