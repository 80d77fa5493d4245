"""Images of similar shape beside each other: which groups there are, and that every image still comes once."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retina.data.sampling import AspectRatio, grouped_order


def stream(shapes: np.ndarray, *, group_size: int, epochs: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(
        [grouped_order(shapes, group_size=group_size, seed=seed, epoch=epoch) for epoch in range(epochs)]
    )


def table(*width_height: tuple[int, int]) -> SimpleNamespace:
    return SimpleNamespace(sizes=np.array([(height, width) for width, height in width_height]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 7))
def test_every_image_comes_exactly_once_an_epoch(shapes, group_size, epoch):
    order = grouped_order(np.array(shapes), group_size=group_size, seed=1, epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(shapes)))


@pytest.mark.parametrize("group_size", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("num_images", [100, 101, 158])
def test_groups_are_of_one_shape_but_for_the_left_over_ones(num_images, group_size):
    shapes = np.random.default_rng(num_images).choice(3, size=num_images, p=[0.15, 0.6, 0.25])
    epochs = 6
    order = stream(shapes, group_size=group_size, epochs=epochs)
    groups = order[: len(order) // group_size * group_size].reshape(-1, group_size)
    mixed = [group for group in groups if len(set(shapes[group])) > 1]
    assert len(mixed) <= 2 * epochs
    starts = np.arange(len(groups)) * group_size
    across = [group for group, start in zip(groups, starts, strict=True)
              if start // num_images != (start + group_size - 1) // num_images]  # fmt: skip
    assert all(set(shapes[group]) == {1} for group in across)


def test_left_over_images_of_neighbouring_shapes_are_grouped():
    shapes = np.repeat([0, 1, 2, 3], [10, 10, 26, 10])  # 2 + 2 + 2 + 2 left over of groups of 4
    groups = grouped_order(shapes, group_size=4, seed=0, epoch=0).reshape(-1, 4)
    mixed = sorted(sorted(shapes[group].tolist()) for group in groups if len(set(shapes[group])) > 1)
    assert mixed == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_which_image_is_left_over_and_when_a_shape_comes_changes_from_epoch_to_epoch():
    shapes = np.repeat([0, 1], [33, 67])
    partners, firsts = Counter(), Counter()
    for epoch in range(0, 100, 4):  # 100 images are 6.25 groups of 16: these epochs begin with a group
        groups = grouped_order(shapes, group_size=16, seed=0, epoch=epoch)[:96].reshape(-1, 16)
        (mixed,) = [group for group in groups if len(set(shapes[group])) > 1]
        partners.update(index for index in mixed.tolist() if shapes[index] == 0)
        firsts[int(shapes[groups[0][0]])] += 1
    assert len(partners) > 10
    assert set(firsts) == {0, 1}


def test_shapes_are_intervals_of_width_over_height():
    images = table((50, 100), (99, 100), (100, 100), (149, 100), (150, 100), (400, 100))
    orders = AspectRatio(boundaries=(1.0, 1.5), group_size=2).orders(images)
    groups = {frozenset(group.tolist()) for group in orders.order(0, 0).reshape(-1, 2)}
    assert groups == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5})}
    assert orders.length == 6
    assert not orders.repeats
    assert orders.notes == (
        "groups of 2 images of one shape; images by width / height 0..1: 2, 1..1.5: 2, 1.5..inf: 2",
    )


def test_without_boundaries_all_images_are_of_one_shape():
    orders = AspectRatio(boundaries=(), group_size=4).orders(table((50, 100), (100, 50), (70, 70)))
    assert sorted(orders.order(0, 3).tolist()) == [0, 1, 2]


def test_the_order_is_the_same_on_every_machine():
    # Written down once: a change of these numbers breaks the resuming of runs that exist.
    shapes = np.array([0, 1, 1, 0, 1, 1, 1, 0, 0, 1])
    assert grouped_order(shapes, group_size=4, seed=0, epoch=1).tolist() == [9, 1, 6, 4, 2, 5, 3, 8, 7, 0]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"boundaries": (2.0, 1.0)}, "ascending, got"),
        ({"boundaries": (1.0, 1.0)}, "ascending, got"),
        ({"boundaries": (0.0,)}, "greater than 0"),
        ({"boundaries": (float("nan"),)}, "greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, told):
    with pytest.raises(ValueError, match=told):
        AspectRatio(**setting)
