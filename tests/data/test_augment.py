from __future__ import annotations

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retina.data.augment import Augment, AugmentUntil
from retina.data.samplers import SampleKey
from retina.data.transforms.color import ColorMatrix
from retina.data.transforms.crops import ScaleCrop
from retina.data.transforms.mixing import MixUp, Mosaic
from retina.data.transforms.resize import Resize, resized_size
from retina.errors import ConfigError
from retina.structures import BoxTargets, Sample


def make_sample(height: int = 48, width: int = 64, *, num_boxes: int = 9, num_crowds: int = 2, seed: int = 0) -> Sample:
    generator = np.random.default_rng(seed)

    def boxes(count: int) -> torch.Tensor:
        corners = np.sort(generator.uniform(0, 1, (count, 2, 2)), axis=1) * (width, height)
        return torch.from_numpy(corners.reshape(count, 4).astype(np.float32))

    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (5, 5), 0)
    labels = torch.from_numpy(generator.integers(0, 80, num_boxes))
    return Sample(image, BoxTargets(boxes(num_boxes), labels, boxes(num_crowds)), 5, (height, width))


def augment(*transforms, short_side: int = 48, long_side: int = 96, seed: int = 0) -> Augment:
    return Augment(list(transforms), short_side=short_side, long_side=long_side, seed=seed)


def same(first: Sample, second: Sample) -> bool:
    pairs = zip(
        (first.targets.boxes, first.targets.labels, first.targets.crowd_boxes),
        (second.targets.boxes, second.targets.labels, second.targets.crowd_boxes),
        strict=True,
    )
    return np.array_equal(first.image, second.image) and all(torch.equal(a, b) for a, b in pairs)


def busy() -> list:
    return [
        A.OneOf([A.HorizontalFlip(p=1), A.Sequential([A.VerticalFlip(p=0.5), A.RandomRotate90(p=0.5)])], p=0.8),
        ScaleCrop(p=0.7),
        A.SomeOf([A.GaussNoise(p=0.7), A.RandomBrightnessContrast(p=0.7), A.Affine(rotate=(-10, 10), p=1)], n=2),
        ColorMatrix(p=0.7),
    ]


# Keyed randomness


def test_equal_keys_give_equal_results():
    sample = make_sample()
    first, second = augment(*busy()), augment(*busy())
    for index in range(20):
        assert same(first.transform(sample, SampleKey(3, index)), second.transform(sample, SampleKey(3, index)))


def test_results_do_not_depend_on_the_order_of_calls():
    sample, pipeline = make_sample(), augment(*busy())
    forwards = [pipeline.transform(sample, SampleKey(1, index)) for index in range(20)]
    backwards = [pipeline.transform(sample, SampleKey(1, index)) for index in reversed(range(20))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


@pytest.mark.parametrize("changed", ["seed", "epoch", "index"])
def test_another_seed_epoch_or_index_gives_another_result(changed):
    sample = make_sample()
    key = {"seed": 1, "epoch": 2, "index": 3}
    other = {**key, changed: 7}
    one, two = (
        augment(*busy(), seed=k["seed"]).transform(sample, SampleKey(k["epoch"], k["index"])) for k in (key, other)
    )
    assert not same(one, two)


def test_global_random_states_neither_matter_nor_change():
    import random

    sample, pipeline = make_sample(), augment(*busy())
    np.random.seed(1)
    random.seed(1)
    first = pipeline.transform(sample, SampleKey(0, 0))
    assert np.random.random() == pytest.approx(0.417022004702574)  # the first number after seed 1
    np.random.seed(2)
    random.seed(2)
    assert same(first, pipeline.transform(sample, SampleKey(0, 0)))


def both_flips(pipeline: Augment, num_keys: int = 600) -> np.ndarray:
    """How often (neither, vertical only, horizontal only, both) of two flips happened, by a marked corner."""
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[0, 0] = 255
    sample = Sample(image, BoxTargets.empty(), 1, (8, 8))
    counts = np.zeros((2, 2), dtype=int)
    for index in range(num_keys):
        row, column = np.argwhere(pipeline.transform(sample, SampleKey(0, index)).image[..., 0] == 255)[0]
        counts[column // 7, row // 7] += 1
    return counts


@pytest.mark.parametrize(
    "transforms",
    [
        lambda: [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)],
        lambda: [A.Sequential([A.HorizontalFlip(p=0.5)], p=1), A.OneOf([A.VerticalFlip(p=1)], p=0.5)],
        lambda: [A.Sequential([A.Sequential([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)], p=1)], p=1)],
    ],
    ids=["flat", "nested", "nested twice"],
)
def test_two_transforms_of_p_half_are_independent(transforms):
    counts = both_flips(augment(*transforms(), short_side=8, long_side=8))
    # 150 each expected, standard deviation 10.6; 5 deviations. Coupled transforms give two zeros.
    assert (np.abs(counts - 150) < 53).all(), counts


def test_neighbouring_keys_are_independent():
    pipeline = augment(A.HorizontalFlip(p=0.5), short_side=8, long_side=8)
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[:, 0] = 255
    sample = Sample(image, BoxTargets.empty(), 1, (8, 8))
    flips = np.array(
        [[pipeline.transform(sample, SampleKey(e, i)).image[0, 7, 0] > 0 for i in range(40)] for e in range(40)]
    )
    assert abs(flips.mean() - 0.5) < 0.0625  # 5 standard deviations of 1600 draws
    assert abs((flips[:, 1:] == flips[:, :-1]).mean() - 0.5) < 0.0625
    assert abs((flips[1:] == flips[:-1]).mean() - 0.5) < 0.0625


# Resize


def test_without_transforms_the_image_is_resized_by_the_fields_rule():
    result = augment(short_side=800, long_side=1333).transform(make_sample(427, 640), SampleKey(0, 0))
    assert result.image.shape == (800, 1199, 3)  # 800 / 427 = 1.874 binds, 640 * 1.874 = 1199.06
    result = augment(short_side=800, long_side=1333).transform(make_sample(300, 640), SampleKey(0, 0))
    assert result.image.shape == (625, 1333, 3)  # 1333 / 640 = 2.083 binds, 300 * 2.083 = 624.8
    assert result.original_size == (300, 640)
    assert result.image_id == 5


def test_pixels_are_opencvs_bilinear_on_uint8():
    sample = make_sample()
    result = augment(short_side=31, long_side=99).transform(sample, SampleKey(0, 0))
    np.testing.assert_array_equal(result.image, cv2.resize(sample.image, (41, 31), interpolation=cv2.INTER_LINEAR))


def test_an_image_of_the_right_size_is_not_touched():
    sample = make_sample()
    result = augment(short_side=48, long_side=64).transform(sample, SampleKey(0, 0))
    np.testing.assert_array_equal(result.image, sample.image)


@pytest.mark.parametrize(("height", "width"), [(427, 640), (1333, 2000), (4001, 3003), (33, 1999)])
def test_boxes_follow_the_resize_within_a_thousandth_of_a_pixel(height, width):
    sample = make_sample(height, width, num_boxes=200, num_crowds=20)
    result = augment(short_side=800, long_side=1333).transform(sample, SampleKey(0, 0))
    new_height, new_width = result.image.shape[:2]
    factors = torch.tensor([new_width / width, new_height / height] * 2, dtype=torch.float64)
    expected = sample.targets.boxes.double() * factors
    visible = ((expected[:, 2:] - expected[:, :2]) >= 0.11).all(dim=1)
    assert visible.sum() > 150
    torch.testing.assert_close(result.targets.boxes.double(), expected[visible], atol=1e-3, rtol=0)
    torch.testing.assert_close(
        result.targets.crowd_boxes.double(), sample.targets.crowd_boxes.double() * factors, atol=1e-3, rtol=0
    )
    assert torch.equal(result.targets.labels, sample.targets.labels[visible])


@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 1000), st.integers(0, 1000))
def test_resizing_twice_is_resizing_once(height, width, short_side, more):
    long_side = short_side + more
    once = resized_size(height, width, short_side=short_side, long_side=long_side)
    assert resized_size(*once, short_side=short_side, long_side=long_side) == once
    assert min(once) <= short_side
    assert max(once) <= long_side
    assert min(once) == short_side or max(once) == long_side


# Boxes and crowds through any transform


def test_crowds_travel_with_the_image_and_come_back_apart():
    sample = make_sample()
    result = augment(A.HorizontalFlip(p=1), short_side=48, long_side=64).transform(sample, SampleKey(0, 0))
    np.testing.assert_array_equal(result.image, sample.image[:, ::-1])
    for before, after in (
        (sample.targets.boxes, result.targets.boxes),
        (sample.targets.crowd_boxes, result.targets.crowd_boxes),
    ):
        expected = torch.stack([64 - before[:, 2], before[:, 1], 64 - before[:, 0], before[:, 3]], dim=1)
        torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)
    assert torch.equal(result.targets.labels, sample.targets.labels)


def test_only_crowds_are_no_objects():
    result = augment(A.HorizontalFlip(p=1)).transform(make_sample(num_boxes=0), SampleKey(0, 0))
    assert result.targets.boxes.shape == (0, 4)
    assert result.targets.crowd_boxes.shape == (2, 4)


def test_an_image_without_objects_stays_without():
    result = augment(*busy()).transform(make_sample(num_boxes=0, num_crowds=0), SampleKey(0, 0))
    assert result.targets.boxes.shape == (0, 4)
    assert result.targets.labels.dtype == torch.int64
    assert result.targets.crowd_boxes.shape == (0, 4)


def test_boxes_outside_of_a_crop_are_dropped_with_their_labels():
    targets = BoxTargets(
        torch.tensor([[0.0, 0.0, 8.0, 8.0], [40.0, 40.0, 60.0, 47.0]]), torch.tensor([3, 4]), torch.zeros(0, 4)
    )
    sample = Sample(np.zeros((48, 64, 3), np.uint8), targets, 1, (48, 64))
    crop = A.Crop(x_min=32, y_min=24, x_max=64, y_max=48, p=1)
    result = augment(crop, short_side=24, long_side=32).transform(sample, SampleKey(0, 0))
    assert result.targets.labels.tolist() == [4]
    torch.testing.assert_close(result.targets.boxes, torch.tensor([[8.0, 16.0, 28.0, 23.0]]))


def test_a_box_cut_down_to_its_edge_is_dropped():
    targets = BoxTargets(torch.tensor([[0.0, 0.0, 32.0, 24.0]]), torch.tensor([3]), torch.zeros(0, 4))
    sample = Sample(np.zeros((48, 64, 3), np.uint8), targets, 1, (48, 64))
    result = augment(A.Crop(x_min=32, y_min=0, x_max=64, y_max=48, p=1)).transform(sample, SampleKey(0, 0))
    assert len(result.targets.boxes) == 0


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("end", [126, np.nextafter(np.float32(126), np.float32(127))])  # in shares of 250 the same
def test_a_sliver_without_width_or_height_in_float32_is_dropped(axis, end):
    whole = torch.tensor([[10.0, 10, 190, 160]])
    sliver = whole.clone()
    sliver[0, axis], sliver[0, axis + 2] = 126, float(end)
    both = torch.cat([sliver, whole])
    sample = Sample(np.zeros((250, 250, 3), np.uint8), BoxTargets(both, torch.tensor([3, 4]), both), 0, (250, 250))
    targets = augment(short_side=250, long_side=250).transform(sample, SampleKey(0, 0)).targets
    assert targets.labels.tolist() == [4]
    torch.testing.assert_close(targets.boxes, whole)
    torch.testing.assert_close(targets.crowd_boxes, whole)


def test_every_result_has_boxes_inside_of_its_image():
    pipeline = augment(*busy())
    num_boxes = 0
    for index in range(60):
        result = pipeline.transform(make_sample(seed=index), SampleKey(0, index))
        height, width = result.image.shape[:2]
        boxes = torch.cat([result.targets.boxes, result.targets.crowd_boxes])
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height]) + 1e-4).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        num_boxes += len(boxes)
    assert num_boxes > 200


@pytest.mark.parametrize("name", ["VerticalFlip", "RandomRotate90", "Transpose", "D4"])
def test_albumentations_own_turns_move_boxes_with_their_pixels(name):
    """A bright rectangle must be where its box says after the turn."""
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[10:20, 5:35] = 255
    targets = BoxTargets(torch.tensor([[5.0, 10.0, 35.0, 20.0]]), torch.tensor([0]), torch.zeros(0, 4))
    sample = Sample(image, targets, 1, (48, 64))
    pipeline = augment(getattr(A, name)(p=1), short_side=48, long_side=64)
    for index in range(8):
        result = pipeline.transform(sample, SampleKey(0, index))
        rows, columns = np.nonzero(result.image[..., 0])
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        torch.testing.assert_close(result.targets.boxes, torch.tensor([found], dtype=torch.float32), atol=1e-3, rtol=0)


def test_transforms_can_be_given_as_a_list_of_settings():
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    settings = OmegaConf.create(
        """
        - {_target_: albumentations.VerticalFlip, p: 0.5}
        - {_target_: albumentations.RandomRotate90, p: 0.5}
        - {_target_: albumentations.OneOf, p: 1, transforms: [{_target_: albumentations.Blur, p: 1}]}
        - {_target_: retina.data.transforms.crops.ScaleCrop, scale: [0.6, 1.6], p: 0.8}
        - {_target_: retina.data.transforms.color.ColorMatrix, brightness: [0.9, 1.2], hue: 0.02, p: 0.8}
        """
    )
    result = augment(*instantiate(settings, _convert_="all")).transform(make_sample(), SampleKey(0, 0))
    assert result.image.dtype == np.uint8
    assert sorted(result.image.shape[:2]) == [48, 64]


def test_what_is_no_transform_is_told_with_its_place():
    with pytest.raises(ConfigError, match=r"augment.transforms\[1\] is no transform of albumentations but 'flip'"):
        augment(A.HorizontalFlip(), "flip")


def test_a_transform_that_makes_floats_is_told():
    with pytest.raises(ConfigError, match=r"made an image of float32 with shape .* from image 5") as caught:
        augment(A.ToFloat(p=1)).transform(make_sample(), SampleKey(0, 0))
    assert "take transforms such as Normalize" in str(caught.value)


def test_resize_stands_last_in_the_pipeline():
    assert isinstance(augment(A.HorizontalFlip()).pipeline.transforms[-1], Resize)


# Mixing, sizes, the end of a run


class Stored:
    """Six images of ``make_sample``, and what was asked for."""

    def __init__(self, height: int = 48, width: int = 64) -> None:
        self.samples = [make_sample(height, width, seed=seed) for seed in range(6)]
        self.asked: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, shrink=None) -> Sample:
        sample = self.samples[index]
        self.asked.append((index, 1 if shrink is None else shrink(*sample.image.shape[:2])))
        return sample


def test_mixing_draws_from_a_stream_of_its_own():
    images, key = Stored(), SampleKey(2, 3)
    never = [Mosaic(p=0), MixUp(p=0)]
    assert same(augment(*never, *busy())(key, images), augment(*busy())(key, images))


def test_two_mixings_of_p_half_are_independent():
    images, counts = Stored(), np.zeros((2, 2), dtype=int)
    pipeline = augment(Mosaic(p=0.5), MixUp(p=0.5))
    for index in range(240):
        images.asked.clear()
        pipeline(SampleKey(index // 6, index % 6), images)
        num_others = len(images.asked) - 1  # a mosaic reads 3, a mixup 1
        counts[num_others // 3, num_others in (1, 4)] += 1
    assert (np.abs(counts - 60) < 34).all(), counts  # 5 standard deviations


def test_copies_of_an_image_in_one_epoch_are_augmented_each_in_its_way():
    images, pipeline = Stored(), augment(Mosaic(p=0.5), *busy())
    results = [pipeline(SampleKey(1, 2, None, copy), images).image.tobytes() for copy in range(4)]
    assert len(set(results)) == 4


def test_draws_of_the_first_copy_are_those_of_runs_that_knew_no_copies():
    """Which of ten images a flip of p=0.5 turns for seed 3: written down from the first version of this program."""
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:, 0] = 255
    sample = Sample(image, BoxTargets.empty(), 1, (4, 4))
    pipeline = augment(A.HorizontalFlip(p=0.5), short_side=4, long_side=4, seed=3)
    turned = "".join(str(int(pipeline.transform(sample, SampleKey(1, i)).image[0, 3, 0] > 0)) for i in range(20))
    assert turned == "00001000000110000101"


@pytest.mark.parametrize("transforms", [[], [Mosaic(p=1)], [ScaleCrop(p=1)], [Resize(), ColorMatrix(p=1)]], ids=str)
def test_the_size_of_a_key_goes_before_that_of_the_settings(transforms):
    images, pipeline = Stored(), augment(*transforms)
    assert pipeline(SampleKey(0, 1, (96, 200)), images).image.shape == (96, 128, 3)
    assert pipeline(SampleKey(0, 1), images).image.shape == (48, 64, 3)
    assert pipeline(SampleKey(0, 1, (30, 200)), images).image.shape == (30, 40, 3)


def test_images_are_decoded_for_the_size_of_the_key_and_partners_too():
    images = Stored(480, 640)
    pipeline = Augment([Mosaic((0.5, 1), p=1)], short_side=240, long_side=400, seed=0, reduced_decoding=True)
    pipeline(SampleKey(0, 0), images)
    pipeline(SampleKey(0, 0, (120, 200)), images)
    pipeline(SampleKey(0, 0, (480, 800)), images)
    assert [shrink for _, shrink in images.asked] == [2] * 4 + [4] * 4 + [1] * 4


def test_resize_alone_is_what_evaluation_sees():
    sample = make_sample(40, 90)
    assert same(augment(*busy()).resize(sample), augment().transform(sample, SampleKey(0, 0)))


def test_from_an_epoch_on_the_gentle_augmentation_is_applied():
    images, strong, gentle = Stored(), augment(Mosaic(p=1)), augment(A.HorizontalFlip(p=0.5))
    both = AugmentUntil(strong, gentle, epoch=3)
    for epoch in (5, 0, 3, 2):  # in any order: nothing is switched, each key decides
        expected = strong if epoch < 3 else gentle
        assert same(both(SampleKey(epoch, 1), images), expected(SampleKey(epoch, 1), images))
    assert both.seed == strong.seed


def test_what_mixes_images_has_to_stand_first():
    with pytest.raises(ConfigError, match=r"augment.transforms\[1\], Mosaic, stands after a transform of one image"):
        augment(A.HorizontalFlip(), Mosaic())
