from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchorGenerator
from torchvision.models.detection.image_list import ImageList

from retina.detection.anchors import AnchorGenerator


def centers(anchors: Tensor) -> Tensor:
    return (anchors[:, :2] + anchors[:, 2:]) / 2


def sides(anchors: Tensor) -> Tensor:
    return anchors[:, 2:] - anchors[:, :2]


def test_sizes_are_exact_and_not_rounded():
    anchors = AnchorGenerator()([(1, 1)] * 5)
    # P3, size 32, height half of the width: 32 * sqrt(2) by 32 / sqrt(2), where torchvision has 46 by 22.
    torch.testing.assert_close(sides(anchors)[0], torch.tensor([45.254834, 22.627417]))
    torch.testing.assert_close(anchors[1], torch.tensor([-16.0, -16.0, 16.0, 16.0]))


def test_areas_go_from_32_to_512_pixels_squared_in_three_steps_an_octave():
    areas = sides(AnchorGenerator()([(1, 1)] * 5)).double().prod(dim=1).view(5, 3, 3)  # level, size, ratio
    expected = torch.tensor([[(32 * 2**level * 2 ** (third / 3)) ** 2 for third in range(3)] for level in range(5)])
    torch.testing.assert_close(areas, expected.double()[:, :, None].expand(5, 3, 3), rtol=1e-6, atol=0)


def test_sizes_are_the_outer_order_and_ratios_the_inner():
    shapes = sides(AnchorGenerator(strides=(8,))([(1, 1)]))
    ratios = shapes[:, 1] / shapes[:, 0]
    torch.testing.assert_close(ratios, torch.tensor([0.5, 1.0, 2.0] * 3))
    torch.testing.assert_close(shapes[[1, 4, 7], 0], torch.tensor([32.0, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)]))


def test_anchors_are_ordered_by_level_then_row_then_column_then_shape():
    generator = AnchorGenerator(strides=(8, 16), scales=(1.0, 2.0), aspect_ratios=(1.0,))
    middle = centers(generator([(2, 3), (1, 2)])).tolist()
    first_level = [[8.0 * column, 8.0 * row] for row in range(2) for column in range(3) for _ in range(2)]
    second_level = [[16.0 * column, 0.0] for column in range(2) for _ in range(2)]
    assert middle == first_level + second_level


def test_step_equals_stride_on_a_rounded_up_level():
    # 800 px high: P7 has ceil(800 / 128) = 7 rows, yet rows stay 128 px apart.
    generator = AnchorGenerator(scales=(1.0,), aspect_ratios=(1.0,))
    grid_sizes = generator.grid_sizes((800, 1344))
    assert grid_sizes == [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]
    middle = centers(generator(grid_sizes))
    p6, p7 = middle[-13 * 21 - 77 : -77], middle[-77:]
    assert (p6[21, 1] - p6[0, 1], p6[1, 0] - p6[0, 0]) == (64, 64)
    assert (p7[11, 1] - p7[0, 1], p7[1, 0] - p7[0, 0]) == (128, 128)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_the_offset_moves_every_centre_by_that_part_of_a_stride(offset):
    grid_sizes = [(2, 2)] * 5
    moved = AnchorGenerator(offset=offset)(grid_sizes)
    plain = AnchorGenerator()(grid_sizes)
    strides = torch.tensor([8.0, 16, 32, 64, 128]).repeat_interleave(2 * 2 * 9)[:, None]
    torch.testing.assert_close(moved - plain, (offset * strides).expand(-1, 4), rtol=0, atol=1e-4)


def test_tiling_is_torchvisions_where_its_strides_are_whole():
    ours = AnchorGenerator()
    theirs = TorchvisionAnchorGenerator(sizes=((32,),) * 5, aspect_ratios=((1.0,),) * 5)
    theirs.cell_anchors = [ours.shapes(stride) for stride in ours.strides]
    canvas = (256, 384)  # whole multiples of 128
    maps = [torch.zeros(1, 1, *size) for size in ours.grid_sizes(canvas)]
    (expected,) = theirs(ImageList(torch.zeros(1, 3, *canvas), [canvas]), maps)
    torch.testing.assert_close(ours(ours.grid_sizes(canvas)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("canvas", [(1, 1), (97, 131), (800, 1333)])
def test_there_are_as_many_anchors_as_cells_times_shapes(canvas):
    generator = AnchorGenerator(scales=(1.0, 1.5), aspect_ratios=(1.0,))
    cells = sum(math.ceil(canvas[0] / stride) * math.ceil(canvas[1] / stride) for stride in generator.strides)
    anchors = generator(generator.grid_sizes(canvas), torch.device("cpu"))
    assert generator.num_per_cell == 2
    assert anchors.shape == (2 * cells, 4)
    assert anchors.dtype == torch.float32


def test_wrong_number_of_levels_names_both_sides():
    with pytest.raises(ValueError, match=r"got 4 feature maps for 5 strides \(8, 16, 32, 64, 128\)"):
        AnchorGenerator()([(1, 1)] * 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strides": ()}, r"anchors\.strides must have at least one number"),
        ({"scales": (1.0, 0.0)}, r"scales must be greater than 0, got 0\.0 in it"),
        ({"aspect_ratios": (-1.0,)}, r"aspect_ratios must be greater than 0, got"),
        ({"aspect_ratios": (1.0, float("nan"))}, r"aspect_ratios must be greater than 0, got"),
        ({"base_scale": 0.0}, r"base_scale must be greater than 0, got 0\.0"),
        ({"offset": 8.0}, r"offset must be at least 0 and below 1, got 8\.0"),
    ],
)
def test_settings_that_give_no_anchors_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        AnchorGenerator(**values)
