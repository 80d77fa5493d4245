"""The heat around centres of objects against its definition on every anchor, and the radius against IoUs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.heat import center_radius
from retina.structures import BoxTargets

CANVAS = (160, 224)
GENERATOR = AnchorGenerator(offset=0.5)


def objects(count: int, seed: int, num_crowds: int = 0) -> BoxTargets:
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(math.log(8), math.log(150), (count + num_crowds, 2)))
    centers = random.uniform((0, 0), (CANVAS[1], CANVAS[0]), (count + num_crowds, 2))
    boxes = torch.tensor(np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1), dtype=torch.float32)
    labels = torch.from_numpy(random.integers(0, 3, count))
    return BoxTargets(boxes[:count], labels, boxes[count:])


def heat_by_definition(targets: BoxTargets, generator: AnchorGenerator = GENERATOR) -> dict[tuple[int, int], float]:
    """Go through every anchor and object; ``{(anchor, label): heat}``."""
    assigner = Assigner(anchors=generator)
    found = assigner(CANVAS, [targets])
    grids = generator.grid_sizes(CANVAS)
    anchors = generator(grids).double()
    per_level = [rows * columns * generator.num_per_cell for rows, columns in grids]
    level = torch.repeat_interleave(torch.arange(len(grids)), torch.tensor(per_level))
    shape = torch.arange(len(anchors)) % generator.num_per_cell
    heats: dict[tuple[int, int], float] = {}
    positive = dict(zip(found.positive_index.tolist(), found.positive_labels.tolist(), strict=True))
    own = {(tuple(box), level[a].item(), shape[a].item())
           for a, box in zip(found.positive_index.tolist(), found.positive_boxes.tolist(), strict=True)}  # fmt: skip
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    for box, label in zip(targets.boxes.tolist(), targets.labels.tolist(), strict=True):
        (radius,) = center_radius(np.array([[box[2] - box[0], box[3] - box[1]]]))
        middle = torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], dtype=torch.float64)
        square = ((centers - middle) ** 2).sum(dim=1)
        for a in (square < radius**2).nonzero().flatten().tolist():
            if (tuple(box), level[a].item(), shape[a].item()) in own and positive.get(a) != label:
                heat = math.exp(-square[a].item() / (2 * (radius / 3) ** 2))
                heats[a, label] = max(heats.get((a, label), 0.0), heat)
    ignored = set(found.ignored_index.tolist())
    return {pair: heat for pair, heat in heats.items() if pair[0] not in ignored}


def heat_of(targets: list[BoxTargets], generator: AnchorGenerator = GENERATOR):
    return Assigner(anchors=generator, center_heat=True)(CANVAS, targets).heat


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 4, 40])
def test_heat_is_that_of_the_definition_on_every_anchor(seed, count):
    targets = objects(count, seed, num_crowds=seed % 2)
    heat = heat_of([targets])
    expected = heat_by_definition(targets)
    assert dict.fromkeys(zip(heat.anchor_index.tolist(), heat.labels.tolist(), strict=True)).keys() == expected.keys()
    assert len(heat.heat) == len(expected)  # each pair once
    for anchor, label, value in zip(*(part.tolist() for part in (heat.anchor_index, heat.labels, heat.heat)),
                                    strict=True):  # fmt: skip
        assert value == pytest.approx(expected[anchor, label], rel=1e-4)  # its centres are float32
    if count == 40:
        assert len(expected) > 10


def test_anchors_are_counted_through_the_batch():
    images = [objects(10, 1), BoxTargets.empty(), objects(10, 2)]
    num_anchors = len(GENERATOR(GENERATOR.grid_sizes(CANVAS)))
    heat = heat_of(images)
    alone = [heat_of([image]) for image in images]
    expected = torch.cat([part.anchor_index + position * num_anchors for position, part in enumerate(alone)])
    assert torch.equal(heat.anchor_index, expected)
    assert torch.equal(heat.heat, torch.cat([part.heat for part in alone]))
    assert len(alone[1].heat) == 0


def test_the_other_targets_are_the_same_and_heat_is_made_only_where_it_is_asked_for():
    targets = [objects(10, 3, num_crowds=2)]
    plain, heated = Assigner()(CANVAS, targets), Assigner(center_heat=True)(CANVAS, targets)
    assert plain.heat is None
    for name in ("positive_index", "positive_labels", "positive_boxes", "ignored_index"):
        assert torch.equal(getattr(plain, name), getattr(heated, name))


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("overlap", [0.3, 0.7, 0.9])
@pytest.mark.parametrize(("width", "height"), [(10.0, 10.0), (100.0, 20.0), (3.0, 400.0)])
def test_corners_moved_by_the_radius_leave_the_wanted_overlap_and_no_less(width, height, overlap):
    (r,) = center_radius(np.array([[width, height]]), overlap)
    box = (0.0, 0.0, width, height)
    moved = [(r, r, width + r, height + r), (r, r, width - r, height - r), (-r, -r, width + r, height + r)]
    assert min(iou(box, other) for other in moved) == pytest.approx(overlap, rel=1e-9)


def test_the_radius_grows_with_the_box():
    small, large = center_radius(np.array([[10.0, 30.0], [100.0, 300.0]]))
    assert large == pytest.approx(10 * small)
