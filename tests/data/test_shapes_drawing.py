"""Scenes: what is annotated is what can be seen, and the rules of the layout hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from retina.boxes import pairwise_iou
from retina.data import shapes_drawing
from retina.data.shapes_drawing import CLASSES, HUES, MAX_IOU, MIN_BOX_SIDE, SHAPES, Figure, Layout, draw_scene, paint
from retina.data.shapes_textures import TEXTURES


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, Layout]]:
    """120 scenes with objects."""
    return [
        draw_scene(np.random.default_rng([9, index]), TEXTURES["train"], side=256, empty=False) for index in range(120)
    ]


def block(width: int, height: int, corner: tuple[int, int], *, label: int | None = 0) -> Figure:
    """An axis-aligned rectangle without soft edges."""
    return Figure(label, np.full((height, width), 255, np.uint8), corner, (1.0, 0.0, 0.0), (0.0, 0.0))


def painted_weights(layout: Layout) -> Iterator[np.ndarray]:
    """Yield how much of every pixel's colour comes from each figure, by painting it white and all others black."""
    black = np.zeros((*layout.owner.shape, 3), np.uint8)
    for index in range(len(layout.figures)):
        figures = [
            replace(figure, colour=(1.0, 1.0, 1.0) if place == index else (0.0, 0.0, 0.0), slope=(0.0, 0.0))
            for place, figure in enumerate(layout.figures)
        ]
        yield paint(black, figures)[..., 0] / 255


def extent(pixels: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_a_box_shrinks_to_what_is_left_in_sight():
    layout = Layout(128)
    assert layout.place(block(40, 40, (20, 30)))
    assert layout.boxes == [(20, 30, 60, 70)]
    assert layout.place(block(20, 60, (10, 20)))  # covers 10 of the 40 columns, all rows
    assert layout.boxes == [(30, 30, 60, 70), (10, 20, 30, 80)]
    assert layout.visible_mask(0).sum() == 30 * 40


def test_a_hidden_middle_leaves_the_box_as_it_is():
    layout = Layout(128)
    assert layout.place(block(60, 60, (20, 20)))
    assert layout.place(block(20, 20, (40, 40)))
    assert layout.boxes == [(20, 20, 80, 80), (40, 40, 60, 60)]
    assert layout.visible_mask(0).sum() == 60 * 60 - 20 * 20


def test_a_box_ends_at_the_border_of_the_image():
    layout = Layout(128)
    assert layout.place(block(40, 40, (-10, 90)))
    assert layout.boxes == [(0, 90, 30, 128)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(block(60, 60, (20, 20)), block(60, 60, (50, 15)), id="too little left of the one below"),
        pytest.param(block(30, 30, (20, 20)), block(30, 30, (44, 20)), id="a small one needs more of itself"),
        pytest.param(block(60, 60, (20, 20)), block(60, 60, (100, 20)), id="too far outside the image"),
        pytest.param(block(60, 60, (20, 20)), block(60, 60, (200, 200)), id="wholly outside the image"),
        pytest.param(block(60, 60, (20, 20)), block(39, 39, (30, 30)), id="boxes too much alike"),
        pytest.param(block(60, 60, (20, 20)), block(60, 9, (20, 90)), id="box too flat"),
        pytest.param(block(60, 60, (20, 20), label=None), block(40, 40, (65, 65)), id="a distractor stays whole"),
    ],
)
def test_a_place_against_the_rules_is_refused_and_changes_nothing(first: Figure, second: Figure):
    layout = Layout(128)
    assert layout.place(first)
    before = layout.owner.copy(), list(layout.boxes)
    assert not layout.place(second)
    np.testing.assert_array_equal(layout.owner, before[0])
    assert layout.boxes == before[1]
    assert layout.figures == [first]


def test_boxes_are_the_extent_of_the_pixels_that_were_painted(scenes):
    checked = overlapped = 0
    for _, layout in scenes:
        for index, weight in enumerate(painted_weights(layout)):
            seen, box = layout.visible_mask(index), layout.boxes[index]
            assert box == extent(seen)
            # The rim is painted at 0.6; inside it a pixel is the figure's own where most of its colour is.
            assert seen[weight >= 0.55].all()
            assert (weight[seen] > 0.05).all()
            checked += 1
            overlapped += seen.sum() < (layout.figures[index].coverage >= 128).sum()
    assert checked > 400
    assert overlapped > 60


def test_no_pixel_belongs_to_two_figures_and_the_rest_is_background(scenes):
    for _, layout in scenes:
        masks = np.stack([layout.visible_mask(index) for index in range(len(layout.figures))])
        assert masks.sum(axis=0).max() <= 1
        np.testing.assert_array_equal(masks.any(axis=0), layout.owner > 0)


def test_objects_stand_out_from_the_grain_where_the_mask_says(scenes):
    for image, layout in scenes[:40]:
        for index, figure in enumerate(layout.figures):
            inside, colour = image[layout.visible_mask(index)].astype(float).mean(axis=0), np.array(figure.colour)
            # Rim and shade change the brightness, not the hue.
            assert np.abs(inside / inside.max() - colour / colour.max()).max() < 0.2


def test_every_object_can_be_named_and_boxes_overlap_up_to_the_limit(scenes):
    overlaps = []
    for _, layout in scenes:
        for index, figure in enumerate(layout.figures):
            assert layout.visible_mask(index).sum() >= figure.least_visible_area
        boxes = torch.tensor(layout.boxes, dtype=torch.float64)
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= MIN_BOX_SIDE
        overlaps += pairwise_iou(boxes, boxes).triu(1).flatten().tolist()
    assert max(overlaps) <= MAX_IOU + 1e-6
    assert sum(value > 0.2 for value in overlaps) >= 5
    assert max(overlaps) > 0.3


def test_an_empty_scene_has_distractors_only():
    figures = []
    for index in range(30):
        _, layout = draw_scene(np.random.default_rng(index), TEXTURES["val"], side=256, empty=True)
        figures += layout.figures
    assert len(figures) > 20
    assert all(figure.label is None for figure in figures)


def test_some_classes_differ_only_in_colour_and_some_only_in_shape():
    pairs = [(a, b) for a in CLASSES for b in CLASSES if a.name < b.name]
    assert [(a.name, b.name) for a, b in pairs if a.shape == b.shape] == [("blue circle", "red circle")]
    same_colour = {(a.name, b.name) for a, b in pairs if a.colour == b.colour}
    assert same_colour == {("red circle", "red square"), ("green cross", "green triangle")}
    assert len({kind.name for kind in CLASSES}) == len(CLASSES) >= 5


def test_the_hues_of_any_two_colours_lie_apart():
    around = sorted(HUES.values())
    for (_, end), (start, _) in zip(around, [*around[1:], (around[0][0] + 360, 0)], strict=True):
        assert start - end > 30


def test_no_distractor_is_an_object_of_a_class():
    rng, classes = np.random.default_rng(0), {(kind.shape, kind.colour) for kind in CLASSES}
    drawn = {shapes_drawing._distractor(rng) for _ in range(2000)}
    assert not drawn & classes
    assert {("ring", "red"), ("circle", "gray"), ("square", "blue"), ("circle", "yellow")} <= drawn


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [12.0, 31.5, 110.0])
def test_a_turned_shape_has_a_box_of_the_wanted_area(shape: str, side: float):
    for angle in np.linspace(0, 6, 13):
        coverage = shapes_drawing._coverage(SHAPES[shape], side=side, angle=angle, shift=np.array([0.3, 0.7]))
        x1, y1, x2, y2 = extent(coverage >= 128)
        assert np.sqrt((x2 - x1) * (y2 - y1)) == pytest.approx(side, abs=1.6)
        assert max(coverage[[0, -1]].max(), coverage[:, [0, -1]].max()) < 8  # nothing is cut off at the edges
        assert ((coverage > 0) & (coverage < 255)).any()  # edges are soft


def test_a_hole_is_seen_through():
    ring = shapes_drawing._coverage(SHAPES["ring"], side=60.0, angle=0.0, shift=np.zeros(2))
    assert ring[ring.shape[0] // 2, ring.shape[1] // 2] == 0


def test_the_same_seed_draws_the_same_scene():
    scenes = [draw_scene(np.random.default_rng(5), TEXTURES["train"], side=256, empty=False) for _ in range(2)]
    np.testing.assert_array_equal(scenes[0][0], scenes[1][0])
    assert scenes[0][1].boxes == scenes[1][1].boxes
