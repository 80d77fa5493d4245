from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from retina.data.samplers import EpochOrders, EvalBatchSampler, KeyedBatchSampler, SampleKey, drawn_size, epoch_order


def micro_batches(num_images: int, count: int, **settings) -> list[list[SampleKey]]:
    return list(islice(KeyedBatchSampler(num_images, **settings), count))


def stream(num_images: int, count: int, *, seed: int = 0, start: int = 0) -> list[SampleKey]:
    """Positions start .. start + count of the stream, as the docstring defines it."""
    positions = range(start, start + count)
    return [
        SampleKey(i // num_images, int(epoch_order(num_images, seed=seed, epoch=i // num_images)[i % num_images]))
        for i in positions
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("num_images", "batch_size"), [(7, 12), (24, 12), (13, 24), (5, 36), (1, 12), (97, 36)])
def test_every_image_comes_exactly_once_an_epoch(num_images, batch_size, world_size, accumulate):
    epochs = 4
    steps = -(-epochs * num_images // batch_size)
    settings = {"batch_size": batch_size, "accumulate": accumulate, "world_size": world_size}
    ranks = [micro_batches(num_images, steps * accumulate, rank=rank, **settings) for rank in range(world_size)]
    counts = Counter(key for rank in ranks for batch in rank for key in batch)
    whole = {SampleKey(epoch, index) for epoch in range(epochs) for index in range(num_images)}
    assert {key for key in counts if key.epoch < epochs} == whole
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_and_micro_batches_in_order_are_the_batch_of_one_process(world_size, accumulate):
    settings = {"batch_size": 12, "seed": 5, "start": 8}
    single = micro_batches(31, 6, **settings)
    ranks = [
        micro_batches(31, 6 * accumulate, rank=rank, world_size=world_size, accumulate=accumulate, **settings)
        for rank in range(world_size)
    ]
    for step, expected in enumerate(single):
        joined = []
        for micro_batch in range(accumulate):
            for rank in range(world_size):
                joined += ranks[rank][step * accumulate + micro_batch]
        assert joined == expected
        assert expected == stream(31, 12, seed=5, start=8 + 12 * step)


@pytest.mark.parametrize("start", [0, 1, 6, 7, 8, 50, 10**9])
def test_a_resumed_stream_goes_on_where_it_stopped(start):
    keys = [key for batch in micro_batches(7, 5, batch_size=3, start=start, seed=2) for key in batch]
    assert keys == stream(7, 15, seed=2, start=start)


def test_a_stream_may_go_on_with_another_batch_size_and_other_ranks():
    uninterrupted = [key for batch in micro_batches(11, 12, batch_size=4) for key in batch]
    before = [key for batch in micro_batches(11, 3, batch_size=4) for key in batch]
    ranks = [micro_batches(11, 6, batch_size=6, world_size=2, rank=rank, start=12) for rank in range(2)]
    after = [key for pair in zip(*ranks, strict=True) for batch in pair for key in batch]
    assert before + after == uninterrupted


def test_an_iterator_made_twice_starts_twice_at_the_same_place():
    sampler = KeyedBatchSampler(9, batch_size=4, start=5)
    assert list(islice(sampler, 7)) == list(islice(sampler, 7))


def test_orders_of_epochs_and_seeds_differ_and_are_permutations():
    orders = [epoch_order(100, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9


def test_the_order_is_the_same_on_every_machine():
    # Written down once: a change of these numbers breaks the resuming of runs that exist.
    assert epoch_order(10, seed=0, epoch=0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 5, "world_size": 2}, "multiple of world_size x accumulate = 2 x 1, got 5"),
        ({"batch_size": 6, "world_size": 2, "accumulate": 2}, "= 2 x 2, got 6"),
        ({"batch_size": 0}, "got 0"),
        ({"batch_size": 2, "rank": 1}, r"rank must lie in \[0, 1\), got 1"),
        ({"batch_size": 2, "start": -1}, "start must be at least 0, got -1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        KeyedBatchSampler(10, **settings)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        KeyedBatchSampler(0, batch_size=1)


# One size for each step


SCALES = [(480, 800), (512, 800), (544, 800)]


def steps_of(count: int, **settings) -> list[list[SampleKey]]:
    """The keys of every rank and micro-batch, joined by optimizer step."""
    world_size, accumulate = settings.get("world_size", 1), settings.get("accumulate", 1)
    ranks = [micro_batches(31, count * accumulate, rank=rank, sizes=SCALES, **settings) for rank in range(world_size)]
    return [
        [key for rank in ranks for batch in rank[step * accumulate : (step + 1) * accumulate] for key in batch]
        for step in range(count)
    ]


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (1, 3), (2, 1), (4, 3)])
def test_all_images_of_a_step_have_one_size_for_any_ranks_and_micro_batches(world_size, accumulate):
    steps = steps_of(60, batch_size=12, world_size=world_size, accumulate=accumulate)
    assert all(len({key.size for key in step}) == 1 for step in steps)
    sizes = [step[0].size for step in steps]
    assert sizes == [step[0].size for step in steps_of(60, batch_size=12)]
    assert sizes == [drawn_size(SCALES, seed=0, position=12 * step) for step in range(60)]
    counts = Counter(sizes)
    assert set(counts) == set(SCALES)
    assert min(counts.values()) >= 10


def test_a_resumed_run_goes_on_with_the_same_sizes():
    whole = [step[0].size for step in steps_of(20, batch_size=12, seed=4)]
    assert [step[0].size for step in steps_of(13, batch_size=12, seed=4, start=84, world_size=2)] == whole[7:]
    assert [step[0].size for step in steps_of(20, batch_size=12, seed=5)] != whole


def test_without_sizes_keys_name_none():
    assert {key.size for batch in micro_batches(5, 4, batch_size=3) for key in batch} == {None}


# Orders that are given


def test_a_given_order_is_followed_and_its_copies_are_numbered():
    orders = EpochOrders(5, lambda seed, epoch: np.array([2, 0, 2, 1, 2]) + epoch, repeats=True)
    keys = [key for batch in micro_batches(orders, 5, batch_size=2) for key in batch]
    assert [(key.epoch, key.index, key.copy) for key in keys] == [
        (0, 2, 0), (0, 0, 0), (0, 2, 1), (0, 1, 0), (0, 2, 2), (1, 3, 0), (1, 1, 0), (1, 3, 1), (1, 2, 0), (1, 3, 2),
    ]  # fmt: skip


SIZES = np.array([[50, 80], [80, 50], [50, 50], [80, 50], [50, 80], [50, 80], [80, 50]])


def test_evaluation_sees_every_image_once_upright_ones_last():
    batches = list(EvalBatchSampler(SIZES, batch_size=3))
    assert [[key.index for key in batch] for batch in batches] == [[0, 2, 4], [5, 1, 3], [6]]
    assert {key.epoch for batch in batches for key in batch} == {0}


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_ranks_share_the_same_evaluation_batches(world_size, batch_size):
    single = [tuple(batch) for batch in EvalBatchSampler(SIZES, batch_size=batch_size)]
    samplers = [
        EvalBatchSampler(SIZES, batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shared = [tuple(batch) for sampler in samplers for batch in sampler]
    assert sorted(shared) == sorted(single)
    assert sum(len(sampler) for sampler in samplers) == len(single)


def test_evaluation_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        EvalBatchSampler(SIZES, batch_size=0)
    with pytest.raises(ValueError, match=r"rank must lie in \[0, 2\), got 2"):
        EvalBatchSampler(SIZES, batch_size=1, rank=2, world_size=2)
