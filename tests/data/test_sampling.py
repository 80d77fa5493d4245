"""Which images an epoch has: by hand, by sets, on average, and the same for any ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retina.data.samplers import KeyedBatchSampler, SampleKey, uniform_orders
from retina.data.sampling import AspectRatio, ClassBalanced, RepeatFactor, Uniform, class_members
from retina.errors import ConfigError


@dataclass(frozen=True)
class Table:
    """Stands for a data set: the labels of every image."""

    sizes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    offsets: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, images: list[list[int]], *, crowd: tuple[int, ...] = (), num_classes: int = 4) -> Table:
        """``crowd``: numbers of objects, counted over all images, that are crowds."""
        labels = np.array([label for image in images for label in image], dtype=np.int64)
        return cls(
            np.tile([[60, 80]], (len(images), 1)),
            labels,
            np.isin(np.arange(len(labels)), crowd),
            np.cumsum([0, *map(len, images)]),
            tuple("abcdefgh"[:num_classes]),
        )


def random_table(num_images: int = 41, seed: int = 0) -> Table:
    generator = np.random.default_rng(seed)
    images = [
        generator.choice(4, size=generator.integers(4), p=[0.7, 0.2, 0.07, 0.03]).tolist() for _ in range(num_images)
    ]
    table = Table.of([*images, [3]])
    return Table(generator.integers(40, 90, (num_images + 1, 2)), *[getattr(table, name) for name in
                 ("labels", "crowd", "offsets", "class_names")])  # fmt: skip


SAMPLINGS = {
    "uniform": Uniform(),
    "aspect_ratio": AspectRatio(group_size=24),
    "repeat_factor": RepeatFactor(threshold=0.3),
    "class_balanced": ClassBalanced(),
}
each_sampling = pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)


def stream(
    orders, steps: int, *, batch_size=24, world_size=1, accumulate=1, start=0, seed=3, **more
) -> list[SampleKey]:
    """The keys of ``steps`` optimizer steps of all ranks and micro-batches, in the order that is promised."""
    ranks = [
        list(islice(KeyedBatchSampler(orders, batch_size=batch_size, world_size=world_size, accumulate=accumulate,
                                      rank=rank, start=start, seed=seed, **more), steps * accumulate))
        for rank in range(world_size)
    ]  # fmt: skip
    return [key for number in range(steps * accumulate) for rank in ranks for key in rank[number]]


# Every sampling


@each_sampling
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_stream_is_the_same_for_any_number_of_ranks_and_micro_batches(sampling, world_size, accumulate):
    orders = sampling.orders(random_table())
    expected = stream(orders, 3, batch_size=72)
    assert stream(orders, 3, batch_size=72, world_size=world_size, accumulate=accumulate) == expected
    assert [key.epoch for key in expected] == [position // orders.length for position in range(3 * 72)]


@each_sampling
@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 9), batch_size=st.sampled_from([8, 24, 48]), world_size=st.sampled_from([1, 2, 4, 8]))
def test_a_run_may_go_on_anywhere_with_other_ranks_and_another_batch_size(sampling, first, batch_size, world_size):
    orders = sampling.orders(random_table())
    before = stream(orders, first)
    after = stream(orders, 3, batch_size=batch_size, world_size=world_size, start=24 * first)
    assert before + after == stream(orders, 20)[: len(before) + len(after)]


@each_sampling
def test_epochs_and_seeds_differ_and_each_is_a_pure_function(sampling):
    orders, again = sampling.orders(random_table()), sampling.orders(random_table())
    found = {(seed, epoch): tuple(orders.order(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(set(found.values())) == 9
    assert all(tuple(again.order(*key)) == order for key, order in found.items())
    assert {len(order) for order in found.values()} == {orders.length}


@each_sampling
def test_a_data_set_of_one_image_goes_on_for_ever(sampling):
    keys = stream(sampling.orders(Table.of([[2]])), 2)
    assert {key.index for key in keys} == {0}
    assert len({(key.epoch, key.copy) for key in keys}) == 48


@each_sampling
def test_no_two_samples_of_the_stream_have_the_same_key(sampling):
    keys = stream(sampling.orders(random_table()), 20)
    assert len(set(keys)) == len(keys)


# Uniform


def test_uniform_is_the_order_of_a_plain_number_of_images():
    assert stream(Uniform().orders(random_table()), 5) == stream(42, 5)
    assert (uniform_orders(42).order(3, 1) == Uniform().orders(random_table()).order(3, 1)).all()


# Repeat factors


def test_repeat_factors_are_those_of_the_paper():
    # 100 images: class a in 100, b in 25, c in 4, d in 1; t = 0.16.
    images = [[0, *([1] if i < 25 else []), *([2] if i < 4 else []), *([3] if i == 0 else [])] for i in range(100)]
    orders = RepeatFactor(threshold=0.16).orders(Table.of(images))
    # a, b: 1; c: sqrt(0.16 / 0.04) = 2; d: sqrt(0.16 / 0.01) = 4; an image has the largest of its classes.
    counts = Counter(orders.order(0, 0).tolist())
    assert [counts[i] for i in range(5)] == [4, 2, 2, 2, 1]
    assert orders.length == 100 + 3 + 3
    assert set(counts.values()) == {1, 2, 4}
    assert orders.notes == (
        "an epoch has 106 images, 6 of them repeats for 2 rare classes; repeat factors: d 4, c 2",
    )  # fmt: skip


def test_the_fraction_of_a_repeat_factor_is_exact_on_average_and_an_image_never_misses_an_epoch():
    images = [[0, 1] if i < 9 else [0] for i in range(36)]  # f = 1/4, t = 1/2: r = sqrt(2)
    orders = RepeatFactor(threshold=0.5).orders(Table.of(images))
    assert orders.length == 27 + 13  # 9 sqrt(2) = 12.73
    counts = np.array([np.bincount(orders.order(0, epoch), minlength=36) for epoch in range(2000)])
    assert counts.min() == 1
    assert counts[:, :9].max() <= 3  # the third only where it fills the epoch up
    fill = (13 - 9 * 2**0.5) / 36  # an even share of what the rounding left over
    error = 4 * 0.5 / 2000**0.5  # four standard deviations of the mean of draws
    assert counts[:, :9].mean(axis=0) == pytest.approx(2**0.5 + fill, abs=error)
    assert counts[:, 9:].mean(axis=0) == pytest.approx(1 + fill, abs=error)


def test_every_image_comes_at_least_once_an_epoch_with_repeats():
    orders = RepeatFactor(threshold=0.3).orders(random_table())
    assert orders.length > 42
    for epoch in range(30):
        assert set(orders.order(0, epoch).tolist()) == set(range(42))


def test_without_rare_classes_repeat_factors_change_nothing_but_the_order():
    orders = RepeatFactor(threshold=0.001).orders(random_table())
    assert orders.length == 42
    assert sorted(orders.order(0, 5).tolist()) == list(range(42))
    assert "0 of them repeats for 0 rare classes" in orders.notes[0]


def test_an_image_without_objects_or_with_a_crowd_only_comes_once():
    table = Table.of([[0], [], [1], [0], [0], [0]], crowd=(1,))
    counts = Counter(RepeatFactor(threshold=1.0).orders(table).order(0, 0).tolist())
    assert counts[1] == counts[2] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=30), st.floats(0.001, 1), st.integers(0, 9)
)
def test_the_length_of_an_epoch_with_repeats_never_varies(images, threshold, epoch):
    orders = RepeatFactor(threshold=threshold).orders(Table.of(images))
    order = orders.order(0, epoch)
    assert len(order) == orders.length
    assert set(order.tolist()) == set(range(len(images)))


def test_copies_of_an_image_have_keys_of_their_own():
    keys = stream(RepeatFactor(threshold=1.0).orders(Table.of([[0], [0], [0], [1]])), 1)
    first = [key for key in keys if key.epoch == 0]
    assert sorted(key.copy for key in first if key.index == 3) == [0, 1]  # r = sqrt(1 / 0.25) = 2
    assert [key.copy for key in sorted(first) if key.index < 3].count(0) == 3


# Balanced classes


def test_every_class_is_drawn_equally_often_whatever_its_images():
    images = [[0]] * 90 + [[1]] * 9 + [[2]]
    orders = ClassBalanced().orders(Table.of(images))
    assert orders.length == 100
    for epoch in range(5):
        counts = Counter("012"[(index >= 90) + (index >= 99)] for index in orders.order(0, epoch).tolist())
        assert sorted(counts.values()) == [33, 33, 34]
    drawn = np.concatenate([orders.order(0, epoch) for epoch in range(60)])
    assert set(drawn.tolist()) == set(range(100))
    per_image = np.bincount(drawn[drawn < 90], minlength=90)
    assert per_image.mean() == pytest.approx(60 * 100 / 3 / 90, rel=0.01)


def test_what_balanced_classes_leave_out_is_told():
    orders = ClassBalanced().orders(Table.of([[0], [], [2, 2], [1]], crowd=(3,)))
    assert set(np.concatenate([orders.order(0, epoch) for epoch in range(9)]).tolist()) == {0, 2}
    assert orders.notes == (
        "images are drawn for 2 classes in turn; none is sure to come once an epoch",
        "2 images without objects never come",
        "classes without an image: b, d",
    )


def test_balancing_the_classes_of_no_objects_is_refused():
    with pytest.raises(ConfigError, match="no image has an object") as caught:
        ClassBalanced().orders(Table.of([[], []]))
    assert caught.value.fix == "sampling=uniform"


def test_members_are_listed_once_by_class():
    labels, owners = class_members(Table.of([[1, 0, 1], [], [0], [3]], crowd=(4,)))
    assert labels.tolist() == [0, 0, 1]
    assert owners.tolist() == [0, 2, 0]


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold must be greater than 0 and at most 1"):
        RepeatFactor(threshold=threshold)
