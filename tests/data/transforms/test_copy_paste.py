from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.data.transforms.copy_paste import CopyPaste
from retina.data.transforms.scene import Others, Scene
from retina.structures import BoxTargets, Sample


def sample(boxes, *, gray: int = 0, crowds=(), size: tuple[int, int] = (60, 80)) -> Sample:
    """An image of ``gray``, each box ``i`` of it filled with ``gray + 50 + i``."""
    image = np.full((*size, 3), gray, np.uint8)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = gray + 50 + i
    corners, regions = (torch.tensor(part, dtype=torch.float32).reshape(-1, 4) for part in (boxes, crowds))
    return Sample(image, BoxTargets(corners, gray + torch.arange(len(boxes)), regions), 1, size)


def paste(first: Sample, second: Sample, seed: int = 0, **settings) -> Sample:
    rng = np.random.default_rng(seed)
    transform = CopyPaste(**{"scale": (1.0, 1.0), "p": 1, **settings})
    return transform(first, Scene(Others(0, 2, lambda index: second, rng), rng, 60, 80))


def test_an_object_is_pasted_with_its_pixels_its_box_and_its_label():
    places = set()
    for seed in range(20):
        result = paste(sample([]), sample([(10, 20, 30, 32)], gray=100), seed)
        assert result.targets.labels.tolist() == [100]
        rows, columns = np.nonzero(result.image[..., 0] == 150)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert result.targets.boxes[0].tolist() == found
        assert (found[2] - found[0], found[3] - found[1]) == (20, 12)
        assert (result.image == 0).sum() == 3 * (60 * 80 - 20 * 12)
        places.add(tuple(found))
    assert len(places) > 15


def test_an_ellipse_reaches_the_edges_of_its_box_and_leaves_out_the_corners():
    result = paste(sample([]), sample([(10, 20, 31, 33)], gray=100), shape="ellipse")
    pasted = result.image[..., 0] > 0
    rows, columns = np.nonzero(pasted)
    assert result.targets.boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert pasted.sum() / (21 * 13) == pytest.approx(np.pi / 4, abs=0.07)


def test_objects_that_others_cover_are_not_pasted():
    second = sample([(0, 0, 20, 20), (15, 0, 40, 20), (50, 30, 70, 50)], gray=100, crowds=[(60, 30, 70, 50)])
    for seed in range(5):
        assert len(paste(sample([]), second, seed).targets.boxes) == 0
    assert len(paste(sample([]), second, max_overlap=1.0).targets.boxes) >= 1


def test_at_most_the_given_number_is_pasted_and_at_least_one():
    second = sample([(20 * i, 0, 20 * i + 8, 8) for i in range(4)], gray=100)
    counts = {len(paste(sample([]), second, seed, max_objects=2, min_visible=0).targets.boxes) for seed in range(20)}
    assert counts == {1, 2}


def test_the_box_of_a_half_hidden_object_is_what_is_left_of_it():
    """The first image's object is a column as high as the patch, so what is hidden is a part of its width or all."""
    shrunk, ignored, untouched = 0, 0, 0
    for seed in range(120):
        first = sample([(30, 0, 50, 60)])
        result = paste(first, sample([(0, 0, 20, 60)], gray=100), seed, min_visible=0.3)
        columns = np.flatnonzero(result.image[0, :, 0] == 50)
        left = len(columns) / 20
        boxes = dict(zip(result.targets.labels.tolist(), result.targets.boxes.tolist(), strict=True))
        if left >= 0.3:
            assert boxes[0] == [columns[0], 0, columns[-1] + 1, 60]
            shrunk += left < 1
            untouched += left == 1
        elif left > 0:
            assert 0 not in boxes
            assert result.targets.crowd_boxes.tolist() == [[columns[0], 0, columns[-1] + 1, 60]]
            ignored += 1
        else:
            assert 0 not in boxes
    assert min(shrunk, untouched) > 10
    assert ignored > 2


def test_an_object_hidden_in_its_middle_keeps_its_box_until_too_little_is_seen():
    first = sample([(0, 0, 80, 60)])
    for covers, stays in ((0.5, True), (0.8, False)):
        # A patch of the whole height, so all that is left are the two sides.
        width = int(80 * covers)
        result = paste(first, sample([(0, 0, width, 60)], gray=100), seed=3)
        assert (0 in result.targets.labels.tolist()) == stays
        assert len(result.targets.crowd_boxes) == (not stays)


def test_crowds_stay_and_the_first_image_is_not_changed():
    first = sample([], crowds=[(5, 5, 40, 40)])
    before = first.image.copy()
    result = paste(first, sample([(10, 20, 30, 32)], gray=100))
    assert result.targets.crowd_boxes.tolist() == [[5, 5, 40, 40]]
    np.testing.assert_array_equal(first.image, before)


def test_a_patch_larger_than_the_image_is_made_to_fit():
    result = paste(sample([]), sample([(0, 0, 70, 30)], gray=100), scale=(9.0, 9.0))
    box = result.targets.boxes[0]
    assert (box[2] - box[0]).item() == 80
    assert (box[3] - box[1]).item() == pytest.approx(30 * 80 / 70, abs=0.6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "polygon"}, "shape must be one of box, ellipse, got 'polygon'"),
        ({"max_objects": 0}, "max_objects must be between 1 and 255"),
        ({"scale": (2, 1)}, "scale must be two numbers"),
        ({"max_overlap": -1}, "max_overlap must be between 0 and 1"),
        ({"p": 1.5}, "p must be between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CopyPaste(**settings)
