"""Zooming in and out: what becomes of pixels, boxes and objects that are cut off."""

from __future__ import annotations

import albumentations as A
import numpy as np
import pytest
import torch

from retina.data.augment import Augment
from retina.data.samplers import SampleKey
from retina.data.transforms.crops import CenterSafeCrop, LargeScaleJitter, ScaleCrop
from retina.structures import BoxTargets, Sample


def augment(*transforms, short_side: int, long_side: int) -> Augment:
    return Augment(list(transforms), short_side=short_side, long_side=long_side, seed=0)


def marked_sample() -> Sample:
    image = np.zeros((96, 128, 3), dtype=np.uint8)
    image[30:70, 40:90] = 255
    targets = BoxTargets(torch.tensor([[40.0, 30.0, 90.0, 70.0]]), torch.tensor([2]), torch.zeros(0, 4))
    return Sample(image, targets, 1, (96, 128))


@pytest.mark.parametrize("scale", [(0.5, 0.9), (1.0, 1.0), (1.05, 1.25)], ids=["out", "same", "in"])
def test_boxes_stay_on_their_pixels_in_a_zoom(scale):
    pipeline = augment(ScaleCrop(scale, fill=(0, 0, 0), min_visible=0, p=1), short_side=192, long_side=256)
    for index in range(25):
        result = pipeline.transform(marked_sample(), SampleKey(0, index))
        assert result.image.shape == (192, 256, 3)
        rows, columns = np.nonzero(result.image[..., 0] >= 128)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = torch.tensor([found], dtype=torch.float32)
        torch.testing.assert_close(result.targets.boxes, expected, atol=1.01, rtol=0)  # pixels are whole


def test_zooms_are_drawn_evenly_on_a_log_scale():
    pipeline = augment(ScaleCrop((0.5, 2.0), min_visible=0, p=1), short_side=96, long_side=128)
    widths = []
    for index in range(200):
        boxes = pipeline.transform(marked_sample(), SampleKey(0, index)).targets.boxes
        widths += [float(box[2] - box[0]) for box in boxes]
    assert 25 <= min(widths) < 30
    below = sum(width < 50 for width in widths) / 200
    assert abs(below - 0.5) < 0.18  # 5 standard deviations


def test_a_zoom_of_one_is_the_plain_resize():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    targets = BoxTargets(torch.tensor([[5.0, 7.0, 40.5, 30.25]]), torch.tensor([2]), torch.zeros(0, 4))
    sample = Sample(pixels, targets, 1, (48, 64))
    zoomed = augment(ScaleCrop((1.0, 1.0), p=1), short_side=31, long_side=99).transform(sample, SampleKey(0, 0))
    plain = augment(short_side=31, long_side=99).transform(sample, SampleKey(0, 0))
    np.testing.assert_array_equal(zoomed.image, plain.image)
    torch.testing.assert_close(zoomed.targets.boxes, plain.targets.boxes, atol=1e-4, rtol=0)


def test_beside_a_smaller_image_stands_the_fill_color():
    pipeline = augment(ScaleCrop((0.5, 0.5), fill=(1, 2, 3), p=1), short_side=48, long_side=64)
    result = pipeline.transform(
        Sample(np.full((48, 64, 3), 200, np.uint8), BoxTargets.empty(), 1, (48, 64)), SampleKey(0, 0)
    )
    colors, counts = np.unique(result.image.reshape(-1, 3), axis=0, return_counts=True)
    assert colors.tolist() == [[1, 2, 3], [200, 200, 200]]
    assert counts[1] == 24 * 32


def test_an_object_cut_off_too_much_becomes_a_crowd_region():
    transform = ScaleCrop((2.0, 2.0), min_visible=0.5, p=1)
    transform.short_side, transform.long_side = 50, 100
    params = {"shape": (50, 100, 3), "canvas": (50, 100), "window": (0, 0, 50, 25), "place": (0, 0, 100, 50)}
    rows = np.array(
        [
            [0.1, 0.1, 0.2, 0.2, 7, 0],  # all of it in the window
            [0.4, 0.1, 0.58, 0.2, 8, 0],  # 10 of 18 px in the window
            [0.4, 0.1, 0.65, 0.2, 9, 0],  # 10 of 25 px
            [0.6, 0.1, 0.70, 0.2, 9, 0],  # nothing
            [0.0, 0.0, 1.00, 1.0, 0, 1],  # a crowd, a quarter of it
        ]
    )
    moved = transform.apply_to_bboxes(rows, **params)
    np.testing.assert_allclose(moved[:, 4:], [[7, 0], [8, 0], [9, 1], [0, 1]])
    np.testing.assert_allclose(moved[0, :4], [0.2, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(moved[1, :4], [0.8, 0.2, 1.0, 0.4])
    np.testing.assert_allclose(moved[3, :4], [0, 0, 1, 1])


def test_scale_crop_finds_the_input_size_inside_of_nested_transforms():
    pipeline = augment(A.OneOf([A.Sequential([ScaleCrop(p=1)])], p=1), short_side=96, long_side=128)
    assert pipeline.transform(marked_sample(), SampleKey(0, 0)).image.shape == (96, 128, 3)


def test_scale_crop_outside_of_augment_says_so():
    with pytest.raises(ValueError, match="inside of Augment only"):
        A.Compose([ScaleCrop(p=1)])(image=np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("scale", [(0, 1), (2, 1), (1,), (-1, 1), (float("nan"), 1)])
def test_scales_that_make_no_sense_are_refused(scale):
    with pytest.raises(ValueError, match="scale must be"):
        ScaleCrop(scale)


def test_jitter_draws_zooms_evenly():
    transform = LargeScaleJitter((0.1, 2.0), p=1)
    zooms = np.array([transform.draw_zoom() for _ in range(400)])
    assert 0.1 <= zooms.min() < 0.2
    assert 1.9 < zooms.max() <= 2
    assert abs(zooms.mean() - 1.05) < 0.14  # 5 standard deviations


def test_an_object_that_gets_too_thin_becomes_a_crowd_region():
    transform = LargeScaleJitter((0.1, 0.1), min_side=2, p=1)
    pipeline = augment(transform, short_side=96, long_side=128)
    targets = BoxTargets(
        torch.tensor([[10.0, 10.0, 29.0, 90.0], [40.0, 10.0, 61.0, 90.0]]), torch.tensor([1, 2]), torch.zeros(0, 4)
    )
    sample = Sample(np.zeros((96, 128, 3), np.uint8), targets, 1, (96, 128))
    result = pipeline.transform(sample, SampleKey(0, 0))
    assert result.targets.labels.tolist() == [2]  # 21 pixels become 2.1, 19 become 1.9
    assert len(result.targets.crowd_boxes) == 1


def test_jitter_takes_the_mean_where_an_image_gets_far_smaller():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, ::2] = 200  # every second column, which bilinear at 1/10 would see by chance
    pipeline = augment(LargeScaleJitter((0.1, 0.1), fill=(0, 0, 0), p=1), short_side=100, long_side=100)
    result = pipeline.transform(Sample(image, BoxTargets.empty(), 1, (100, 100)), SampleKey(0, 0))
    assert np.unique(result.image).tolist() == [0, 100]


@pytest.mark.parametrize("least", [0.2, 0.5, 0.9])
def test_a_safe_crop_holds_every_centre_and_enough_of_each_side(least):
    generator = np.random.default_rng(0)
    transform = CenterSafeCrop(least, p=1)
    for _ in range(60):
        corners = np.sort(generator.uniform(0, 1, (3, 2, 2)), axis=1).reshape(3, 4)
        rows = np.column_stack([corners, [0, 0, 0], [0, 0, 1]])
        x1, y1, x2, y2 = transform.get_params_dependent_on_data({"shape": (60, 90, 3)}, {"bboxes": rows})["window"]
        assert 0 <= x1 < x2 <= 90
        assert 0 <= y1 < y2 <= 60
        assert x2 - x1 >= least * 90
        assert y2 - y1 >= least * 60
        centers = (corners[:2, :2] + corners[:2, 2:]) / 2 * (90, 60)  # the third one is a crowd
        assert (centers > (x1, y1)).all()
        assert (centers < (x2, y2)).all()


def test_what_a_safe_crop_cuts_off_too_much_becomes_a_crowd_region():
    transform = CenterSafeCrop(min_visible=0.4)
    rows = np.array([[0.0, 0, 0.5, 0.5, 7, 0], [0.4, 0, 0.7, 1, 8, 0], [0.4, 0, 1.0, 1, 9, 0], [0.6, 0, 0.9, 1, 9, 0]])
    moved = transform.apply_to_bboxes(rows, shape=(60, 100, 3), window=(0, 0, 60, 60))
    np.testing.assert_allclose(moved[:, 4:], [[7, 0], [8, 0], [9, 1]])  # all of it, two thirds, a third, nothing
    np.testing.assert_allclose(moved[2, :4], [2 / 3, 0, 1, 1])


def test_a_safe_crop_of_an_image_without_objects_goes_anywhere():
    transform = CenterSafeCrop(0.5, p=1)
    windows = [
        transform.get_params_dependent_on_data({"shape": (60, 90, 3)}, {"bboxes": np.zeros((0, 4))})["window"]
        for _ in range(200)
    ]
    x1, y1, x2, y2 = np.array(windows).T
    assert x1.min() == y1.min() == 0
    assert (x2.max(), y2.max()) == (90, 60)
    assert x1.max() > 35
    assert (x2 - x1).min() < 50


@pytest.mark.parametrize("share", [0, 1.5, float("nan")])
def test_shares_that_make_no_sense_are_refused(share):
    with pytest.raises(ValueError, match="min_side_share must be greater than 0 and at most 1"):
        CenterSafeCrop(share)
