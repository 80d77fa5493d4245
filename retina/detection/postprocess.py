"""From raw outputs to detected objects: threshold, best candidates of each level, non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from retina.boxes import clip_boxes, decode_boxes
from retina.ranges import AtLeast1, Share, checked
from retina.structures import AnchorTargets, BoxCells, Detections, Predictions


@dataclass(frozen=True)
class Candidates:
    """Pairs of an anchor and a class with a score worth a box, image after image."""

    anchor_index: Tensor  # (M,) int64 `b * A + a`, ascending; an anchor may come with several classes
    labels: Tensor  # (M,) int64 in [0, K)
    scores: Tensor  # (M,) float32
    counts: Sequence[int]  # (B,) candidates of each image

    def box_cells(self, targets: AnchorTargets | None = None) -> BoxCells:
        """Return where their boxes are needed, and those of the positive anchors of ``targets``; on the host."""
        wanted = self.anchor_index.cpu()
        if targets is not None:
            wanted = torch.cat([wanted, targets.positive_index.cpu()])
        return BoxCells(wanted.unique())


@checked
@dataclass(frozen=True)
class PostProcess:
    """Keep scores above ``score_threshold``, the best ``candidates_per_level`` of each level, and what survives
    class-wise suppression at ``nms_iou``; at most ``max_detections`` an image.

    Source: Lin et al. 2017, Focal Loss, section 4.1, Inference (0.05, 1000 a level, 0.5).
    """

    score_threshold: Share = 0.05
    candidates_per_level: AtLeast1 = 1000
    nms_iou: Share = 0.5
    max_detections: AtLeast1 = 100
    # What makes scores of the logits; of the softmax the last output is the background. The loss decides it.
    scores: Literal["sigmoid", "softmax"] = "sigmoid"

    @torch.no_grad()
    def __call__(
        self, predictions: Predictions, anchors: Tensor, sizes: Tensor, candidates: Candidates | None = None
    ) -> list[Detections]:
        """Return the detections of each image, best first, in pixels of the network's input.

        Args:
            predictions: deltas for every anchor, or at least for those of the candidates.
            anchors: ``(A, 4)`` anchors of one image.
            sizes: ``(B, 2)`` (height, width) of each image's content; boxes are clipped to it.
            candidates: those of ``predictions``, where they are known already.
        """
        if predictions.logits.shape[:2] != (len(sizes), len(anchors)):
            shape = tuple(predictions.logits.shape)
            raise ValueError(f"logits {shape} must be those of {len(sizes)} images of {len(anchors)} anchors")
        if candidates is None:
            candidates = self.candidates(predictions.logits, predictions.grid_sizes)
        deltas = predictions.deltas_of(candidates.anchor_index)
        boxes = decode_boxes(deltas, anchors[candidates.anchor_index % len(anchors)])
        parts = (part.split(candidates.counts) for part in (boxes, candidates.labels, candidates.scores))
        return [
            self._one_image(clip_boxes(boxes, int(height), int(width)), labels, scores)
            for boxes, labels, scores, (height, width) in zip(*parts, sizes.tolist(), strict=True)
        ]

    @torch.no_grad()
    def candidates(self, logits: Tensor, grid_sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Return the best (anchor, class) pairs of every level of every image, for ``(B, A, K or K + 1)`` logits."""
        batch_size, num_anchors, num_outputs = logits.shape
        cells = [rows * columns for rows, columns in grid_sizes]
        if num_anchors % sum(cells):
            raise ValueError(f"{num_anchors} anchors cannot be those of {sum(cells)} cells")
        rows = logits.reshape(-1, num_outputs)
        softmax = self.scores == "softmax"
        if softmax:
            rows = rows.float().log_softmax(dim=1)[:, :-1]
        # Nearly all anchors are background: their best class already says so, and only the others are looked at again.
        # The threshold is applied to logits, so that only survivors go through the sigmoid; log(p) is such a logit too.
        threshold = _log(self.score_threshold)
        if not softmax:
            threshold -= _log(1.0 - self.score_threshold)
        anchor = rows_that_may_exceed(rows, threshold)
        few = rows[anchor].float()
        row, label = (few > threshold).nonzero().unbind(1)
        anchor, score = anchor[row], few[row, label]
        levels = torch.tensor(cells * batch_size, device=logits.device) * (num_anchors // sum(cells))
        found = torch.searchsorted(anchor, levels.cumsum(0)).tolist()  # candidates up to the end of each level
        kept = [self._best(score[first:last]) + first for first, last in pairwise([0, *found])]
        counts = [sum(map(len, kept[i : i + len(cells)])) for i in range(0, len(kept), len(cells))]
        order = torch.cat(kept)
        best = score[order].exp() if softmax else score[order].sigmoid()
        return Candidates(anchor[order], label[order], best, counts)

    def _best(self, scores: Tensor) -> Tensor:
        """Return the positions, ascending, of the ``candidates_per_level`` best of ``(M,)`` scores."""
        if len(scores) <= self.candidates_per_level:
            return torch.arange(len(scores), device=scores.device)
        return scores.topk(self.candidates_per_level).indices.sort().values

    def _one_image(self, boxes: Tensor, labels: Tensor, scores: Tensor) -> Detections:
        # A box entirely in the padding has no area left after clipping.
        whole = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1).nonzero().squeeze(1)
        boxes, scores, labels = boxes[whole], scores[whole], labels[whole]
        keep = batched_nms(boxes, scores, labels, self.nms_iou)[: self.max_detections]
        return Detections(boxes[keep], scores[keep], labels[keep])


def rows_that_may_exceed(logits: Tensor, threshold: float) -> Tensor:
    """Return the rows of ``(S, K)`` logits, ascending, that may hold a value above ``threshold``; others hold none.

    A few rows with values just below are among them, and those with a NaN.

    The maximum of floats is slow to compute: it minds NaN, and half precision is converted first. Integers have no
    such worries, so the bits are compared: read as signed integers, floats from 0 on are in their own order, and
    negative ones lie below them in the reverse order.
    """
    integers = {8: torch.int64, 4: torch.int32, 2: torch.int16}[logits.element_size()]
    bits = logits.view(integers)
    # A little lower, so that rounding to the type of the logits cannot raise it.
    lowered = torch.tensor(threshold - abs(threshold) * 2**-6 if math.isfinite(threshold) else threshold)
    limit = int(lowered.to(logits.dtype).view(integers))
    largest = bits.amax(dim=1)
    # Negative values above a negative threshold are nearer to 0, so their bits are smaller.
    above = largest > limit if threshold >= 0 else (largest >= 0) | (bits.amin(dim=1) < limit)
    return above.nonzero().squeeze(1)


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
