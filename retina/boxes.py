"""Pure geometry of axis-aligned boxes: areas, overlaps, conversion, encoding.

A box is ``(x1, y1, x2, y2)`` in pixels, continuous coordinates: its width is ``x2 - x1``, without the ``+ 1`` of
early detection code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Larger log scales are cut off, so that exp() of an untrained network's output stays finite.
# Source: Detectron, `BBOX_XFORM_CLIP` = log(1000 / 16).
MAX_LOG_SCALE = math.log(1000.0 / 16)


def box_area(boxes: Tensor) -> Tensor:
    """Return ``(...)`` areas in square pixels of ``(..., 4)`` xyxy boxes."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return ``(N, M)`` areas common to each of ``(N, 4)`` and each of ``(M, 4)`` boxes."""
    top_left = torch.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    bottom_right = torch.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return ``(N, M)`` intersection over union; 0 where both boxes are empty."""
    intersection = pairwise_intersection(boxes1, boxes2)
    union = box_area(boxes1)[:, None] + box_area(boxes2)[None, :] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return ``(..., 4)`` deltas ``(dx, dy, dw, dh)`` of boxes of positive width and height relative to ``anchors``.

    Shifts in anchor sizes and log scales; inverse of :func:`decode_boxes`.

    Source: Ren et al. 2015, Faster R-CNN, eq. 2 (no variance scaling).
    """
    centers, sizes = _centers_and_sizes(boxes)
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    shift = (centers - anchor_centers) / anchor_sizes
    log_scale = torch.log(sizes / anchor_sizes)
    return torch.cat([shift, log_scale], dim=-1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return ``(..., 4)`` boxes that ``deltas`` describe relative to ``anchors``; inverse of :func:`encode_boxes`.

    Log scales are cut off at ``MAX_LOG_SCALE``. Computed in float32 (or float64) whatever the precision of ``deltas``.
    """
    deltas = deltas.to(anchors.dtype)
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    centers = deltas[..., :2] * anchor_sizes + anchor_centers
    half_sizes = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) * anchor_sizes
    return torch.cat([centers - half_sizes, centers + half_sizes], dim=-1)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return ``boxes`` with every corner moved into an image of ``height`` x ``width`` pixels."""
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Convert ``(..., 4)`` boxes from two corners to COCO's corner and sides."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes
