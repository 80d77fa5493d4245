"""From raw outputs to detected objects: threshold, best candidates of each level, non-maximum suppression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from retina.boxes import clip_boxes, decode_boxes
from retina.structures import Detections, Predictions


@dataclass(frozen=True)
class PostProcess:
    """Keep scores above ``score_threshold``, the best ``candidates_per_level`` of each level, and what survives
    class-wise suppression at ``nms_iou``; at most ``max_detections`` an image.

    Source: Lin et al. 2017, Focal Loss, section 4.1, Inference (0.05, 1000 a level, 0.5).
    """

    score_threshold: float = 0.05
    candidates_per_level: int = 1000
    nms_iou: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"postprocess.{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("candidates_per_level", "max_detections"):
            if getattr(self, name) < 1:
                raise ValueError(f"postprocess.{name} must be at least 1, got {getattr(self, name)}")

    @torch.no_grad()
    def __call__(self, predictions: Predictions, anchors: Tensor, sizes: Tensor) -> list[Detections]:
        """Return the detections of each image, best first, in pixels of the network's input.

        Args:
            predictions: dense: deltas for every anchor.
            anchors: ``(A, 4)`` anchors of one image.
            sizes: ``(B, 2)`` (height, width) of each image's content; boxes are clipped to it.
        """
        images_and_anchors = (len(sizes), len(anchors))
        if not predictions.logits.shape[:2] == predictions.deltas.shape[:2] == images_and_anchors:
            raise ValueError(
                f"logits {tuple(predictions.logits.shape)} and deltas {tuple(predictions.deltas.shape)} must be those "
                f"of {len(sizes)} images of {len(anchors)} anchors"
            )
        cells = [rows * columns for rows, columns in predictions.grid_sizes]
        anchors_per_cell = len(anchors) // sum(cells)
        levels = [count * anchors_per_cell for count in cells]
        return [
            self._one_image(logits, deltas, anchors, levels, (int(height), int(width)))
            for logits, deltas, (height, width) in zip(
                predictions.logits, predictions.deltas, sizes.tolist(), strict=True
            )
        ]

    def _one_image(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, levels: list[int], size: tuple[int, int]
    ) -> Detections:
        index, labels, scores = self._candidates(logits, levels)
        boxes = clip_boxes(decode_boxes(deltas[index], anchors[index]), *size)
        # A box entirely in the padding has no area left after clipping.
        whole = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1).nonzero().squeeze(1)
        boxes, scores, labels = boxes[whole], scores[whole], labels[whole]
        keep = batched_nms(boxes, scores, labels, self.nms_iou)[: self.max_detections]
        return Detections(boxes[keep], scores[keep], labels[keep])

    def _candidates(self, logits: Tensor, levels: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchor index, label and score of the best (anchor, class) pairs of every level."""
        num_classes = logits.shape[-1]
        # The threshold is applied to logits, so that only survivors go through the sigmoid.
        threshold = _logit(self.score_threshold)
        indices, scores = [], []
        first = 0
        for level in logits.split(levels):
            flat = level.reshape(-1)
            above = (flat > threshold).nonzero().squeeze(1)
            best, order = flat[above].float().topk(min(self.candidates_per_level, len(above)))
            indices.append(above[order] + first * num_classes)
            scores.append(best.sigmoid())
            first += len(level)
        index = torch.cat(indices)
        return index // num_classes, index % num_classes, torch.cat(scores)


def _logit(probability: float) -> float:
    if probability in (0.0, 1.0):
        return -math.inf if probability == 0.0 else math.inf
    return math.log(probability / (1 - probability))
