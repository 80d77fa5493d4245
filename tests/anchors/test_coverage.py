"""The coverage of a data set must be what the full table and the assigner say, box by box and anchor by anchor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.anchors.coverage import (
    CHUNK,
    NetworkBoxes,
    best_anchors,
    best_possible_iou,
    by_canvas,
    measure_coverage,
    positive_anchors,
)
from retina.boxes import pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.window import AnchorGrid
from retina.structures import BoxTargets

GENERATORS = {
    "default": AnchorGenerator(),
    "middle of the cell": AnchorGenerator(offset=0.5),
    "other shapes": AnchorGenerator((4, 16), base_scale=3.0, scales=(1, 1.7), aspect_ratios=(0.3, 1, 3.3)),
    "twice the same shape": AnchorGenerator((8, 32), scales=(1.0, 1.0), aspect_ratios=(1.0,)),
}
RULES = {
    "default": {},
    "thresholds only": {"match_every_box": False},
    "high threshold": {"positive_iou": 0.8, "negative_iou": 0.3},
}
CANVASES = [(64, 96), (160, 224), (224, 160), (37, 41)]


def random_boxes(seed: int, canvas: tuple[int, int], count: int) -> np.ndarray:
    """Boxes from under a pixel to larger than the canvas, some beyond its border; with even seeds many ties."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-0.1, 1.1, (count, 2)) * canvas[::-1]
    sides = np.exp(rng.uniform(np.log(0.5), np.log(400), (count, 2)))
    if seed % 2 == 0:
        centers, sides = centers.round(), np.ceil(sides / 2) * 2
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)


def random_objects(seed: int, num_images: int = 12) -> NetworkBoxes:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(CANVASES), num_images)
    counts = rng.integers(0, 15, num_images)
    boxes = [random_boxes(100 * seed + i, CANVASES[kinds[i]], counts[i]) for i in range(num_images)]
    return NetworkBoxes(
        boxes=np.concatenate(boxes),
        image=np.repeat(np.arange(num_images), counts),
        canvases=np.array(CANVASES)[kinds],
        labels=np.zeros(counts.sum(), dtype=np.int64),
        original_areas=np.ones(counts.sum()),
    )


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
def test_the_best_possible_overlap_is_the_largest_of_the_full_table_to_the_last_bit(generator):
    for seed in range(12):
        canvas = CANVASES[seed % len(CANVASES)]
        boxes = torch.from_numpy(random_boxes(seed, canvas, 30))
        table = pairwise_iou(boxes, generator(generator.grid_sizes(canvas)))
        assert torch.equal(best_possible_iou(generator, boxes, canvas), table.amax(dim=1)), seed
        iou, anchor = best_anchors(AnchorGrid(generator, canvas), boxes.numpy())
        first = torch.where(table.amax(dim=1) > 0, table.argmax(dim=1), 0)
        assert torch.equal(torch.from_numpy(anchor), first), seed


def test_a_box_that_is_an_anchor_has_a_best_overlap_of_one():
    generator = AnchorGenerator()
    anchors = generator(generator.grid_sizes((128, 160)))[::37]
    assert (best_possible_iou(generator, anchors, (128, 160)) > 0.999).all()


def test_boxes_beyond_every_anchor_and_without_area_have_none():
    strange = torch.tensor([[5000.0, 5000, 5100, 5100], [40, 40, 40, 60], [60, 60, 50, 80], [-1e6, -1e6, 1e6, 1e6]])
    iou = best_possible_iou(AnchorGenerator(), strange, (64, 64))
    assert iou[:3].tolist() == [0, 0, 0]
    assert 0 < iou[3] < 1e-4
    assert len(best_possible_iou(AnchorGenerator(), torch.zeros(0, 4), (64, 64))) == 0


def test_more_boxes_than_one_portion_are_all_looked_at():
    boxes = torch.from_numpy(random_boxes(1, (64, 64), 40)).repeat(CHUNK // 40 + 2, 1)
    iou = best_possible_iou(AnchorGenerator(), boxes, (64, 64))
    assert torch.equal(iou.reshape(-1, 40), iou[:40].expand(CHUNK // 40 + 2, 40))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("generator", GENERATORS)
def test_every_image_gets_the_positive_anchors_that_the_assigner_gives(generator, rule):
    assigner = Assigner(GENERATORS[generator], assign="dense", **RULES[rule])
    num_lost = num_forced = 0
    for seed in range(6):
        objects = random_objects(seed)
        expected_of_box, expected_of_shape = np.zeros(len(objects), dtype=np.int64), 0
        per_cell = assigner.anchors.num_per_cell
        for image in range(len(objects.canvases)):
            mine = objects.image == image
            canvas = tuple(objects.canvases[image].tolist())
            boxes = torch.from_numpy(objects.boxes[mine])
            grid = AnchorGrid(assigner.anchors, canvas)
            anchor, box, _ = assigner.match(grid, BoxTargets(boxes, torch.arange(len(boxes)), torch.zeros(0, 4)))
            found, owner = positive_anchors(assigner, grid, objects.boxes[mine], objects.image[mine])
            order = np.argsort(found)
            assert found[order].tolist() == anchor.tolist()
            assert owner[order].tolist() == box.tolist()
            expected_of_box[mine] = np.bincount(box.numpy(), minlength=len(boxes))
            cells = [rows * columns for rows, columns in assigner.anchors.grid_sizes(canvas)]
            level = np.repeat(np.arange(len(cells)), np.array(cells) * per_cell)
            # Levels are whole cells, so the shape of an anchor is its number in the cell.
            shape = level * per_cell + np.arange(len(level)) % per_cell
            expected_of_shape = expected_of_shape + np.bincount(shape[anchor.numpy()], minlength=len(cells) * per_cell)
            num_forced += int((pairwise_iou(boxes[box], grid.anchors[anchor]).diagonal() < 0.3).sum())
        coverage = measure_coverage(assigner, objects)
        assert coverage.num_positives.tolist() == expected_of_box.tolist()
        assert coverage.positives_of_shape.tolist() == expected_of_shape.tolist()
        num_lost += int((expected_of_box == 0).sum())
    assert num_lost > 10, "objects are among them whose anchors all belong to others"
    if assigner.match_every_box:
        assert num_forced > 20, "anchors are among them that only the rule for every box makes positive"


def test_an_object_under_its_equal_is_lost():
    box = [[10.0, 10, 42, 42], [10, 10, 42, 42], [60, 60, 90, 90]]
    objects = NetworkBoxes(np.array(box, dtype=np.float32), np.zeros(3, int), np.array([[96, 96]]), np.zeros(3, int),
                           np.ones(3))  # fmt: skip
    coverage = measure_coverage(Assigner(), objects)
    assert (coverage.num_positives > 0).tolist() == [True, False, True]
    assert coverage.best_iou[0] == coverage.best_iou[1] > 0.5


def test_anchors_of_whom_many_boxes_ask_in_many_portions_go_to_the_same_boxes(monkeypatch):
    boxes, image = random_boxes(3, (160, 224), 300), np.sort(np.arange(300) % 3)
    boxes[:, 2:] = boxes[:, :2] + 3  # so small that every anchor is one of the rule for every box
    grid = AnchorGrid(AnchorGenerator(), (160, 224))
    whole = positive_anchors(Assigner(), grid, boxes, image)
    monkeypatch.setattr("retina.anchors.coverage._PAIRS", 500)
    parted = positive_anchors(Assigner(), grid, boxes, image)
    assert len(whole[0]) > 300
    assert all(map(np.array_equal, whole, parted))


def test_portions_hold_whole_images_and_every_box_once(monkeypatch):
    monkeypatch.setattr("retina.anchors.coverage.CHUNK", 20)
    objects = random_objects(5, num_images=40)
    seen, portion_of_image = [], {}
    for canvas, portions in by_canvas(objects):
        assert len(portions) > 1
        for number, members in enumerate(portions):
            assert (objects.canvases[objects.image[members]] == canvas).all()
            for image in set(objects.image[members].tolist()):
                assert portion_of_image.setdefault(image, (canvas, number)) == (canvas, number)
            seen += members.tolist()
    assert sorted(seen) == list(range(len(objects)))


def test_nothing_is_measured_for_no_boxes_and_progress_counts_up():
    empty = random_objects(0)[np.zeros(0, dtype=int)]
    assert measure_coverage(Assigner(), empty).positives_of_shape.sum() == 0
    told = []
    objects = random_objects(1)
    measure_coverage(Assigner(), objects, told.append)
    assert told == sorted(told)
    assert told[-1] == len(objects)
