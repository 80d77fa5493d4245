from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou, clip_boxes_to_image

from retina.boxes import (
    MAX_LOG_SCALE,
    box_area,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    pairwise_intersection,
    pairwise_iou,
    xyxy_to_xywh,
)


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 2..102 px sides with corners in 0..200 px."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 200
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * 100], dim=1)


def box(*corners: float) -> Tensor:
    return torch.tensor([corners], dtype=torch.float32)


def test_area_is_width_times_height_without_the_plus_one():
    torch.testing.assert_close(box_area(box(1, 2, 4, 7)), torch.tensor([15.0]))


def test_iou_of_half_overlapping_squares_is_one_third():
    a, b = box(0, 0, 2, 2), box(1, 0, 3, 2)  # overlap 2, union 6
    torch.testing.assert_close(pairwise_intersection(a, b), torch.tensor([[2.0]]))
    torch.testing.assert_close(pairwise_iou(a, b), torch.tensor([[1 / 3]]))


def test_iou_is_torchvisions():
    a, b = random_boxes(40, seed=1), random_boxes(50, seed=2)
    iou = pairwise_iou(a, b)
    assert (iou > 0).sum() > 100
    torch.testing.assert_close(iou, box_iou(a, b), rtol=0, atol=0)


def test_iou_is_symmetric_between_zero_and_one_and_one_with_itself():
    a, b = random_boxes(30, seed=3), random_boxes(30, seed=4)
    iou = pairwise_iou(a, b)
    torch.testing.assert_close(iou, pairwise_iou(b, a).T, rtol=0, atol=0)
    assert iou.min() >= 0
    assert iou.max() <= 1
    torch.testing.assert_close(pairwise_iou(a, a).diagonal(), torch.ones(30))


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        (box(2, 0, 4, 2), 0.0),  # touching
        (box(5, 5, 6, 6), 0.0),  # apart in both axes: two negative sides must not make an area
        (box(1, 1, 1, 1), 0.0),  # a point inside
        (box(0.5, 0.5, 1.5, 1.5), 0.25),  # contained
    ],
)
def test_iou_with_a_square_of_side_two(other, iou):
    torch.testing.assert_close(pairwise_iou(box(0, 0, 2, 2), other), torch.tensor([[iou]]))


def test_iou_of_two_empty_boxes_is_zero_and_not_nan():
    assert pairwise_iou(box(3, 3, 3, 3), box(3, 3, 3, 3)).item() == 0.0


def test_overlaps_of_no_boxes_have_no_rows():
    assert pairwise_iou(torch.zeros(0, 4), random_boxes(3, seed=0)).shape == (0, 3)


def test_encoding_by_hand():
    # The anchor has its centre at (10, 10) and sides of 4; the box is moved by 2 and 1 and twice as wide.
    deltas = encode_boxes(box(8, 9, 16, 13), box(8, 8, 12, 12))
    torch.testing.assert_close(deltas, torch.tensor([[0.5, 0.25, math.log(2), 0.0]]))


def test_codes_are_torchvisions():
    boxes, anchors = random_boxes(50, seed=5), random_boxes(50, seed=6)
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(encode_boxes(boxes, anchors), coder.encode_single(boxes, anchors))
    deltas = torch.randn(50, 4) * 3
    torch.testing.assert_close(decode_boxes(deltas, anchors), coder.decode_single(deltas, anchors))


def test_decode_inverts_encode():
    boxes, anchors = random_boxes(50, seed=7), random_boxes(50, seed=8)
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes)


def test_anchors_are_shared_by_the_images_of_a_batch():
    boxes, anchors = torch.stack([random_boxes(5, seed=9), random_boxes(5, seed=10)]), random_boxes(5, seed=11)
    together = encode_boxes(boxes, anchors)
    torch.testing.assert_close(together[1], encode_boxes(boxes[1], anchors))
    torch.testing.assert_close(decode_boxes(together, anchors), boxes)


def test_a_huge_log_scale_gives_a_finite_box_of_at_most_62_and_a_half_anchors():
    decoded = decode_boxes(torch.tensor([[0.0, 0.0, 1000.0, MAX_LOG_SCALE]]), box(0, 0, 16, 16))
    torch.testing.assert_close(decoded, box(-492, -492, 508, 508))


def test_decoding_computes_in_the_anchors_precision():
    deltas, anchors = torch.randn(20, 4).bfloat16(), random_boxes(20, seed=12)
    decoded = decode_boxes(deltas, anchors)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, decode_boxes(deltas.float(), anchors), rtol=0, atol=0)


def test_clipping_moves_corners_into_an_image_that_is_wider_than_high():
    torch.testing.assert_close(clip_boxes(box(-5, -6, 300, 150), 100, 200), box(0, 0, 200, 100))
    torch.testing.assert_close(clip_boxes(box(250, 20, 300, 30), 100, 200), box(200, 20, 200, 30))
    boxes = random_boxes(50, seed=13) * 2 - 100
    torch.testing.assert_close(clip_boxes(boxes, 120, 90), clip_boxes_to_image(boxes, (120, 90)))


def test_corner_and_sides_by_hand():
    torch.testing.assert_close(xyxy_to_xywh(box(1, 2, 11, 22)), box(1, 2, 10, 20))
