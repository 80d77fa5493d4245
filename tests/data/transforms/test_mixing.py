from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from retina.data.augment import Augment
from retina.data.samplers import SampleKey
from retina.data.transforms.mixing import MixUp, Mosaic
from retina.data.transforms.scene import Others, Scene
from retina.structures import BoxTargets, Sample

GRAY = (0, 50, 100, 150, 200)  # of the image of each index


def plain(index: int, size: tuple[int, int] = (40, 60), boxes=((10, 10, 30, 30),)) -> Sample:
    image = np.full((*size, 3), GRAY[index], np.uint8)
    targets = BoxTargets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.full((len(boxes),), index), torch.zeros(0, 4)
    )
    return Sample(image, targets, index, size)


def scene(seed: int = 0, *, num_images: int = 5, read=plain, short_side: int = 40, long_side: int = 60) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene(Others(0, num_images, read, rng), rng, short_side, long_side)


def drawn(index: int, num_images: int, count: int, seed: int = 0) -> list[int]:
    others = Others(
        index, num_images, lambda other: plain(0, boxes=[(0, 0, other + 1, 1)]), np.random.default_rng(seed)
    )
    return [int(others.read().targets.boxes[0, 2]) - 1 for _ in range(count)]


def test_others_come_once_each_and_never_the_image_itself():
    for seed in range(10):
        assert sorted(drawn(3, 8, 7, seed)) == [0, 1, 2, 4, 5, 6, 7]
    assert sorted(drawn(3, 8, 14)) == sorted([0, 1, 2, 4, 5, 6, 7] * 2)


def test_the_only_image_is_mixed_with_itself():
    assert drawn(0, 1, 3) == [0, 0, 0]


def test_every_other_image_is_equally_likely():
    counts = np.bincount([drawn(2, 5, 1, seed)[0] for seed in range(800)], minlength=5)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 200).max() < 62  # 5 standard deviations


# Mosaic


def test_four_images_meet_at_a_point():
    mosaic = Mosaic(scale=(1.0, 1.0), center=(0.5, 0.5), min_visible=0, min_side=0, p=1)
    image = mosaic(plain(0), scene()).image
    assert image.shape == (40, 60, 3)
    quarters = [image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:]]
    levels = [np.unique(quarter).tolist() for quarter in quarters]
    assert all(len(level) == 1 for level in levels)
    assert levels[0] == [GRAY[0]]
    assert len({level[0] for level in levels}) == 4


def test_a_smaller_image_touches_the_point_where_the_four_meet():
    mosaic = Mosaic(scale=(0.25, 0.25), center=(0.5, 0.5), min_side=0, fill=(9, 9, 9), p=1)
    result = mosaic(plain(0), scene())
    assert (result.image[10:30, 15:45] != 9).all()
    assert (result.image[:10] == 9).all()
    assert (result.image[:, 45:] == 9).all()
    first = result.targets.boxes[result.targets.labels == 0]
    torch.testing.assert_close(first, torch.tensor([[15 + 2.5, 10 + 2.5, 15 + 7.5, 10 + 7.5]]))


def test_a_mosaic_whose_cut_leaves_a_sliver_makes_a_sample():
    # Objects end at every pixel, so that some end a rounding error beside the edge of what their quarter shows.
    class Four:
        def __len__(self) -> int:
            return 4

        def sample(self, index: int, shrink: object = None) -> Sample:
            edges = torch.arange(1, 96, dtype=torch.float32)
            boxes = torch.stack([edges, edges * 0 + 5, edges + 1, edges + 1], dim=1)
            boxes = torch.cat([boxes, torch.stack([edges * 0 + 5, edges, edges + 1, edges + 1], dim=1)])
            targets = BoxTargets(boxes, torch.zeros(len(boxes), dtype=torch.int64), boxes)
            return Sample(np.zeros((96, 128, 3), np.uint8), targets, index, (96, 128))

    pipeline = Augment([Mosaic(p=1.0)], short_side=72, long_side=96, seed=0)
    for index in range(40):
        targets = pipeline(SampleKey(0, index % 4, copy=index // 4), Four()).targets
        for boxes in (targets.boxes, targets.crowd_boxes):
            assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_point_lies_in_its_interval():
    mosaic = Mosaic(scale=(1.0, 1.0), center=(0.2, 0.4), p=1)
    widths = []
    for seed in range(60):
        image = mosaic(plain(0), scene(seed)).image
        widths.append(int((image[0, :, 0] == 0).sum()))
    assert 12 <= min(widths) < 15
    assert 21 < max(widths) <= 24


def test_a_mosaic_has_the_size_and_the_identity_of_its_first_image():
    result = Mosaic(p=1)(plain(0, (80, 30)), scene(short_side=20, long_side=100))
    assert result.image.shape == (53, 20, 3)
    assert (result.image_id, result.original_size) == (0, (80, 30))


def test_images_of_a_mosaic_are_scaled_each_by_its_own_resize():
    def read(index: int) -> Sample:
        return plain(index, (400, 600), boxes=[(0, 0, 600, 400)])  # ten times as large, and the same in the network

    mosaic = Mosaic(scale=(0.4, 0.4), center=(0.5, 0.5), p=1)
    result = mosaic(plain(0, boxes=[(0, 0, 60, 40)]), scene(read=read))
    sides = result.targets.boxes[:, 2:] - result.targets.boxes[:, :2]
    torch.testing.assert_close(sides, torch.tensor([[24.0, 16.0]] * 4))


# MixUp


def test_both_images_have_their_weight():
    for seed in range(20):
        result = MixUp(min_weight=0, p=1)(plain(0), scene(seed))
        weight = np.unique(result.image) / GRAY[int(result.targets.labels[-1])]
        assert len(weight) == 1
        assert 0.1 < weight[0] <= 0.51


def test_a_faint_image_brings_crowds_in_place_of_objects():
    kept, faint = 0, 0
    for seed in range(40):
        result = MixUp(alpha=1, min_weight=0.25, p=1)(plain(0), scene(seed, num_images=2))
        weight = result.image.max() / GRAY[1]
        assert (weight >= 0.25) == (len(result.targets.boxes) == 2) or abs(weight - 0.25) < 0.02
        kept += len(result.targets.boxes) == 2
        faint += len(result.targets.crowd_boxes) == 1
    assert kept + faint == 40
    assert min(kept, faint) > 8


def test_the_second_image_is_never_cut():
    def read(index: int) -> Sample:
        return plain(index, (90, 30), boxes=[(0, 0, 30, 90)])

    places = set()
    for seed in range(30):
        result = MixUp(min_weight=0, p=1)(plain(0, boxes=[]), scene(seed, read=read))
        x1, y1, x2, y2 = (round(float(side)) for side in result.targets.boxes[0])
        assert (x2 - x1, y2 - y1) == (13, 40)  # 40 pixels high fit
        assert (result.image[y1:y2, x1:x2] > 0).all()
        assert (result.image > 0).sum() == 3 * 13 * 40
        places.add(x1)
    assert len(places) > 10


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Mosaic(scale=(1, 0.5)), "scale must be two numbers"),
        (lambda: Mosaic(center=(0.5, 1.5)), "center must be between 0 and 1, got 1.5 in it"),
        (lambda: Mosaic(p=2), "p must be between 0 and 1"),
        (lambda: Mosaic(min_visible=-1), "min_visible must be between 0 and 1"),
        (lambda: MixUp(alpha=0), "alpha must be greater than 0"),
        (lambda: MixUp(min_weight=2), "min_weight must be between 0 and 1"),
        (lambda: MixUp(p=float("nan")), "p must be between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_all_draws_come_from_the_scenes_generator():
    np.random.seed(3)
    results = [Mosaic(p=1)(replace(plain(0)), scene(7)).image for _ in range(2)]
    np.testing.assert_array_equal(*results)
    assert next(islice(iter(drawn(0, 5, 1)), 1)) in range(1, 5)
