"""Which anchor should find which object: RetinaNet's assignment by overlap.

The targets do not depend on the model, so they are made in the loader's workers on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from retina.boxes import box_area, pairwise_intersection, pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.detection.heat import background_heat
from retina.detection.window import AnchorGrid, best_boxes, covered_anchors
from retina.ranges import FILLED, FLAT, AtMost, Between, ShareAbove0, checked
from retina.structures import AnchorTargets, BackgroundHeat, BoxTargets

BACKGROUND = -1
IGNORE = -2


@checked
@dataclass(frozen=True)
class Assigner:
    """Give every anchor of a batch its object, or background, or no loss at all.

    An anchor is positive from ``positive_iou`` on, background below ``negative_iou``, ignored between. With
    ``match_every_box`` each object also gets the anchors that overlap it most (ties too), however little, because
    otherwise a small or oddly shaped object would have none. An anchor's target is its own best object, also when it
    was added by that rule. Anchors with at least ``crowd_ignore`` of their area inside a crowd region are ignored
    unless positive; null makes them background. With ``center_heat`` the targets say which background lies near the
    centre of an object, for a loss that asks for it.

    Source: Lin et al. 2017, Focal Loss, section 4 (thresholds); Ren et al. 2015, Faster R-CNN, section 3.1.2 (best
    anchor of each box).
    """

    anchors: Annotated[AnchorGenerator, FLAT] = field(default_factory=AnchorGenerator)
    positive_iou: ShareAbove0 = 0.5
    negative_iou: Annotated[float, Between(0, 1, "low"), AtMost("positive_iou")] = 0.4
    match_every_box: bool = True
    crowd_ignore: ShareAbove0 | None = 0.5
    assign: Literal["window", "dense"] = "window"  # the same result; dense computes every overlap
    center_heat: Annotated[bool, FILLED] = False

    @torch.no_grad()
    def __call__(self, canvas: tuple[int, int], targets: Sequence[BoxTargets]) -> AnchorTargets:
        """Return the sparse targets of a batch of images padded to ``canvas`` = (height, width)."""
        grid = _grid_of(self.anchors, canvas)
        positive, labels, boxes, ignored, heat = [], [], [], [], []
        for position, image_targets in enumerate(targets):
            first = position * len(grid.anchors)
            index, own_best, without_loss = matched = self.match(grid, image_targets)
            positive.append(index + first)
            labels.append(image_targets.labels[own_best])
            boxes.append(image_targets.boxes[own_best])
            ignored.append(without_loss + first)
            if self.center_heat:
                near = background_heat(grid, matched, image_targets)
                heat.append((near.anchor_index + first, near.labels, near.heat))
        positive_index = torch.cat(positive)
        return AnchorTargets(
            positive_index=positive_index,
            positive_labels=torch.cat(labels),
            positive_boxes=torch.cat(boxes),
            positive_anchors=grid.anchors[positive_index % len(grid.anchors)],
            ignored_index=torch.cat(ignored),
            heat=BackgroundHeat(*map(torch.cat, zip(*heat, strict=True))) if self.center_heat else None,
        )

    def match(self, grid: AnchorGrid, targets: BoxTargets) -> tuple[Tensor, Tensor, Tensor]:
        """Return an image's positive anchors, the object of each, and its ignored anchors; int64, ascending."""
        if self.assign == "window" and len(targets.boxes):
            best = best_boxes(grid, targets.boxes.numpy(), self.negative_iou, match_every_box=self.match_every_box)
            # Overlaps are float32 and compared in it, as in the full table.
            found = best.forced | (best.iou >= np.float32(self.positive_iou))
            between = ~found & (best.iou >= np.float32(self.negative_iou))
            parts = best.anchor[found], best.box[found], best.anchor[between]
            positive, own_best, ignored = map(torch.from_numpy, parts)
        else:
            match = self._match_all(grid.anchors, targets.boxes)
            positive = (match >= 0).nonzero().squeeze(1)
            own_best, ignored = match[positive], (match == IGNORE).nonzero().squeeze(1)
        if self.crowd_ignore is not None and len(targets.crowd_boxes):
            without_loss = torch.zeros(len(grid.anchors), dtype=torch.bool)
            without_loss[self._covered(grid, targets.crowd_boxes, self.crowd_ignore)] = True
            without_loss[ignored] = True
            without_loss[positive] = False
            ignored = without_loss.nonzero().squeeze(1)
        return positive, own_best, ignored

    def _covered(self, grid: AnchorGrid, crowd_boxes: Tensor, least: float) -> Tensor:
        """Return the anchors with at least ``least`` of their area inside one crowd region."""
        if self.assign == "window":
            return torch.from_numpy(covered_anchors(grid, crowd_boxes.numpy(), least))
        covered = pairwise_intersection(crowd_boxes, grid.anchors) / box_area(grid.anchors)  # (C, A)
        return (covered >= least).any(dim=0).nonzero().squeeze(1)

    def _match_all(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Return ``(A,)`` int64: index of the matched object, or BACKGROUND, or IGNORE."""
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


# Batches come in few canvas sizes; 192k anchors of one are 3 MB.
@lru_cache(maxsize=8)
def _grid_of(generator: AnchorGenerator, canvas: tuple[int, int]) -> AnchorGrid:
    return AnchorGrid(generator, canvas)
