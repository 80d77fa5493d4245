"""Which anchor should find which object: RetinaNet's assignment by overlap.

The targets do not depend on the model, so they are made in the loader's workers on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from retina.boxes import box_area, pairwise_intersection, pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.structures import AnchorTargets, BoxTargets

BACKGROUND = -1
IGNORE = -2


@dataclass(frozen=True)
class Assigner:
    """Give every anchor of a batch its object, or background, or no loss at all.

    An anchor is positive from ``positive_iou`` on, background below ``negative_iou``, ignored between. With
    ``match_every_box`` each object also gets the anchors that overlap it most (ties too), however little, because
    otherwise a small or oddly shaped object would have none. An anchor's target is its own best object, also when it
    was added by that rule. Anchors with at least ``crowd_ignore`` of their area inside a crowd region are ignored
    unless positive; null makes them background.

    Source: Lin et al. 2017, Focal Loss, section 4 (thresholds); Ren et al. 2015, Faster R-CNN, section 3.1.2 (best
    anchor of each box).
    """

    anchors: AnchorGenerator = field(default_factory=AnchorGenerator)
    positive_iou: float = 0.5
    negative_iou: float = 0.4
    match_every_box: bool = True
    crowd_ignore: float | None = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.negative_iou <= self.positive_iou <= 1:
            raise ValueError(
                "anchors.negative_iou and anchors.positive_iou must satisfy 0 < negative <= positive <= 1, "
                f"got {self.negative_iou} and {self.positive_iou}"
            )
        if self.crowd_ignore is not None and not 0 < self.crowd_ignore <= 1:
            raise ValueError(f"anchors.crowd_ignore must be null or lie in (0, 1], got {self.crowd_ignore}")

    @torch.no_grad()
    def __call__(self, canvas: tuple[int, int], targets: Sequence[BoxTargets]) -> AnchorTargets:
        """Return the sparse targets of a batch of images padded to ``canvas`` = (height, width)."""
        anchors = _anchors_of(_frozen(self.anchors), canvas)
        positive, labels, boxes, ignored = [], [], [], []
        for position, image_targets in enumerate(targets):
            match = self.match(anchors, image_targets)
            first = position * len(anchors)
            index = (match >= 0).nonzero().squeeze(1)
            positive.append(index + first)
            labels.append(image_targets.labels[match[index]])
            boxes.append(image_targets.boxes[match[index]])
            ignored.append((match == IGNORE).nonzero().squeeze(1) + first)
        positive_index = torch.cat(positive)
        return AnchorTargets(
            positive_index=positive_index,
            positive_labels=torch.cat(labels),
            positive_boxes=torch.cat(boxes),
            positive_anchors=anchors[positive_index % len(anchors)],
            ignored_index=torch.cat(ignored),
        )

    def match(self, anchors: Tensor, targets: BoxTargets) -> Tensor:
        """Return ``(A,)`` int64: index of the matched object, or BACKGROUND, or IGNORE."""
        match = self._match_boxes(anchors, targets.boxes)
        if self.crowd_ignore is not None and len(targets.crowd_boxes):
            covered = pairwise_intersection(targets.crowd_boxes, anchors) / box_area(anchors)
            in_crowd = (covered >= self.crowd_ignore).any(dim=0)
            match[in_crowd & (match < 0)] = IGNORE
        return match

    def _match_boxes(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        if len(boxes) == 0:
            return torch.full((len(anchors),), BACKGROUND)
        iou = pairwise_iou(boxes, anchors)  # (N, A)
        best_iou, own_best = iou.max(dim=0)  # (A,), (A,)
        match = own_best.clone()
        match[best_iou < self.positive_iou] = IGNORE
        match[best_iou < self.negative_iou] = BACKGROUND
        if self.match_every_box:
            best_of_box = iou.amax(dim=1, keepdim=True)  # (N, 1)
            # Without `iou > 0` a box outside the image would make every anchor positive.
            index = ((iou == best_of_box) & (iou > 0)).any(dim=0).nonzero().squeeze(1)
            match[index] = own_best[index]
        return match


def _frozen(generator: AnchorGenerator) -> AnchorGenerator:
    """Return ``generator`` with tuples for lists, so that it can be a key of the cache below."""
    return AnchorGenerator(
        strides=tuple(generator.strides),
        base_scale=generator.base_scale,
        scales=tuple(generator.scales),
        aspect_ratios=tuple(generator.aspect_ratios),
        offset=generator.offset,
    )


# Batches come in few canvas sizes; 192k anchors of one are 3 MB.
@lru_cache(maxsize=8)
def _anchors_of(generator: AnchorGenerator, canvas: tuple[int, int]) -> Tensor:
    return generator(generator.grid_sizes(canvas))
