"""Images, objects and scores that make a network work as hard as real ones do, without a data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retina.boxes import pairwise_iou
from retina.structures import BoxTargets, ImageBatch

# Sides (square roots of areas) of COCO's objects in an 800 px image lie mostly between these.
_SIDES = (16.0, 400.0)
# Anchors that overlap an object less than this have no score.
_LEAST_IOU = 0.3
_BEST_SCORE, _LEAST_SCORE, _CLUTTER_SCORE = 0.9, 0.05, 0.3
_JITTER = 0.02


@dataclass(frozen=True)
class SparseScores:
    """The only scores of one image above the background's."""

    anchor_index: Tensor  # (M,) int64
    labels: Tensor  # (M,) int64
    logits: Tensor  # (M,) float32

    def write_to(self, logits: Tensor) -> Tensor:
        """Overwrite the M elements in ``(B, A, K)`` logits of every image, in place."""
        anchor_index, labels = self.anchor_index.to(logits.device), self.labels.to(logits.device)
        logits[:, anchor_index, labels] = self.logits.to(logits)
        return logits

    def take_the_place_of(self, predict: nn.Conv2d, subnet: nn.Module) -> None:
        """Make ``subnet`` return these scores and its prior elsewhere, in the time that it takes anyhow.

        The weights of ``predict``, its last convolution, become 0, since random ones may give scores.
        """
        nn.init.zeros_(predict.weight)
        subnet.register_forward_hook(lambda module, inputs, logits: self.write_to(logits))


def synthetic_images(batch_size: int, canvas: tuple[int, int], *, seed: int = 0) -> ImageBatch:
    """Return noise without padding, channels-last as the loader delivers it."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (batch_size, *canvas, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
    return ImageBatch(pixels, torch.tensor([canvas] * batch_size))


def synthetic_targets(
    batch_size: int, canvas: tuple[int, int], *, num_boxes: int, num_classes: int, seed: int = 0
) -> list[BoxTargets]:
    """Return ``num_boxes`` boxes inside each image: sides log-uniform, aspect ratios 1/2 to 2, labels uniform."""
    generator = torch.Generator().manual_seed(seed)
    return [_one_image(canvas, num_boxes, num_classes, generator) for _ in range(batch_size)]


def _one_image(canvas: tuple[int, int], num_boxes: int, num_classes: int, generator: torch.Generator) -> BoxTargets:
    extent = torch.tensor([canvas[1], canvas[0]], dtype=torch.float32)  # width, height
    smallest, largest = _SIDES
    sides = smallest * (largest / smallest) ** torch.rand(num_boxes, 1, generator=generator)
    stretch = 2.0 ** (torch.rand(num_boxes, 1, generator=generator) - 0.5)  # root of the aspect ratio
    sizes = torch.minimum(torch.cat([sides / stretch, sides * stretch], dim=1), extent)
    corner = torch.rand(num_boxes, 2, generator=generator) * (extent - sizes)
    labels = torch.randint(num_classes, (num_boxes,), generator=generator)
    return BoxTargets(torch.cat([corner, corner + sizes], dim=1), labels, torch.zeros(0, 4))


def synthetic_scores(
    anchors: Tensor, targets: BoxTargets, *, num_classes: int, num_clutter: int = 40, seed: int = 0
) -> SparseScores:
    """Return the scores of a detector that finds ``targets``: about 0.9 at the best anchor of each object, down to
    0.05 at an overlap of 0.3; no two the same. And ``num_clutter`` anchors anywhere with scores of 0.05 to 0.3.

    Random weights give no score above the threshold or too many, and neither time would be a detector's.
    """
    generator = torch.Generator().manual_seed(seed)
    iou = pairwise_iou(targets.boxes, anchors)  # (N, A)
    best = iou.amax(dim=1, keepdim=True).clamp(min=_LEAST_IOU + 1e-3)
    share = (iou - _LEAST_IOU) / (best - _LEAST_IOU)
    box, index = (share > 0).nonzero(as_tuple=True)
    # All anchors that contain an object overlap it equally; which of two equal scores survives is nobody's rule.
    untied = 1 - _JITTER * torch.rand(len(box), generator=generator)
    scores = _LEAST_SCORE + (_BEST_SCORE - _LEAST_SCORE) * share[box, index] * untied
    clutter = torch.randperm(len(anchors), generator=generator)[:num_clutter]
    clutter = clutter[~torch.isin(clutter, index)]
    clutter_scores = _LEAST_SCORE + (_CLUTTER_SCORE - _LEAST_SCORE) * torch.rand(len(clutter), generator=generator)
    clutter_labels = torch.randint(num_classes, (len(clutter),), generator=generator)
    return SparseScores(
        torch.cat([index, clutter]),
        torch.cat([targets.labels[box], clutter_labels]),
        torch.logit(torch.cat([scores, clutter_scores])),
    )
