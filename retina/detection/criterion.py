"""The two loss sums of a batch. Not normalised: the trainer knows the positives of the whole step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from retina.boxes import decode_boxes, encode_boxes
from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.box_sum import BoxLossSum
from retina.detection.losses.classification import ClassificationLoss
from retina.detection.losses.focal_weights import FocalWeights
from retina.structures import AnchorTargets, Predictions

# An object without width or height has the code log(0) = -inf. This is the code of an object 1e-7 of its anchor,
# below any real one, so that a single bad box cannot make a step infinite.
MIN_LOG_SCALE = -16.0

SPACES = ("deltas", "boxes", "both")


@dataclass(frozen=True)
class PositiveBoxes:
    """Predicted and true boxes of the P positive anchors, as codes and as boxes; each is made at most once."""

    deltas: Tensor  # (P, 4) as predicted
    targets: AnchorTargets

    @cached_property
    def codes(self) -> tuple[Tensor, Tensor]:
        """``(P, 4)`` predicted and true codes."""
        codes = encode_boxes(self.targets.positive_boxes, self.targets.positive_anchors)
        return self.deltas, codes.clamp(min=MIN_LOG_SCALE)

    @cached_property
    def boxes(self) -> tuple[Tensor, Tensor]:
        """``(P, 4)`` predicted and true boxes, xyxy pixels."""
        return decode_boxes(self.deltas, self.targets.positive_anchors), self.targets.positive_boxes

    @cached_property
    def iou(self) -> Tensor:
        """``(P,)`` overlaps of the predicted with the true boxes, 0 to 1, without a gradient."""
        predicted, true = self.boxes
        return BoxPairs(predicted.detach(), true).iou.clamp(max=1.0)


class Criterion(nn.Module):
    """Classification and box loss of what the network predicts, as sums over anchors.

    A module because a loss may keep running statistics in buffers; it learns nothing. Computes in float32 whatever
    the precision of the network.
    """

    def __init__(
        self, classification: ClassificationLoss, box: BoxLoss | BoxLossSum, *, focal_gamma: float | None = None
    ) -> None:
        """Keep the parts.

        Args:
            classification: returns a scalar of ``(logits, targets)``, or ``(logits, targets, iou)`` if it says so.
            box: returns one value a box of the predicted and the true boxes, in its ``space``; of "both" it gets codes
                and then boxes.
            focal_gamma: weighs each box by the focal factor of its anchor's class; None: all weigh the same.
        """
        super().__init__()
        if box.space not in SPACES:
            raise ValueError(f"{type(box).__name__}.space must be one of {SPACES}, got {box.space!r}")
        self.classification, self.box = classification, box
        self.focal_weights = None if focal_gamma is None else FocalWeights(focal_gamma)

    @property
    def additive(self) -> bool:
        """Whether splitting a batch over ranks or micro-batches leaves both sums as they are."""
        return bool(self.classification.additive) and self.box.additive and self.focal_weights is None

    def forward(self, predictions: Predictions, targets: AnchorTargets) -> dict[str, Tensor]:
        """Return scalar float32 sums under ``"classification"`` and ``"box"``, the latter times its weight.

        Without positives the box sum is 0 and still hangs on the predictions, so that every parameter of a dense box
        tower gets a gradient of 0 rather than none.

        Args:
            predictions: deltas of every anchor, or of some anchors with all positive ones among them.
            targets: anchors counted through the batch.
        """
        with torch.autocast(predictions.logits.device.type, enabled=False):
            logits = predictions.logits.flatten(0, 1)
            positives = PositiveBoxes(predictions.deltas_of(targets.positive_index), targets)
            box_losses = self._compare(positives)  # (P,)
            if self.focal_weights is not None:
                box_losses = box_losses * self.focal_weights(self.classification.miss(logits.detach(), targets))
            overlaps = (positives.iou,) if self.classification.needs_iou else ()
            return {
                "classification": self.classification(logits, targets, *overlaps),
                "box": self.box.weight * box_losses.sum(),
            }

    def _compare(self, positives: PositiveBoxes) -> Tensor:
        """Return ``(P,)`` box losses in the space that the loss asks for."""
        if self.box.space == "both":
            return self.box(*positives.codes, *positives.boxes)
        return self.box(*(positives.boxes if self.box.space == "boxes" else positives.codes))
