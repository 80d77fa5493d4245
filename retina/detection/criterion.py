"""The two loss sums of a batch. Not normalised: the trainer knows the positives of the whole step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retina.boxes import decode_boxes, encode_boxes
from retina.detection.losses.box import BoxLoss
from retina.structures import AnchorTargets, Predictions

# An object without width or height has the code log(0) = -inf. This is the code of an object 1e-7 of its anchor,
# below any real one, so that a single bad box cannot make a step infinite.
MIN_LOG_SCALE = -16.0

SPACES = ("deltas", "boxes")


class Criterion(nn.Module):
    """Classification and box loss of what the network predicts, as sums over anchors.

    A module because a loss may keep running statistics in buffers; it learns nothing. Computes in float32 whatever
    the precision of the network.
    """

    def __init__(self, classification: nn.Module, box: BoxLoss) -> None:
        """Args: ``classification(logits, targets)`` returns a sum, ``box(predicted, target)`` one value a box."""
        super().__init__()
        if box.space not in SPACES:
            raise ValueError(f"{type(box).__name__}.space must be one of {SPACES}, got {box.space!r}")
        self.classification, self.box = classification, box

    @property
    def additive(self) -> bool:
        """Whether splitting a batch over ranks or micro-batches leaves both sums as they are."""
        return bool(self.classification.additive) and self.box.additive

    def forward(self, predictions: Predictions, targets: AnchorTargets) -> dict[str, Tensor]:
        """Return scalar float32 sums under ``"classification"`` and ``"box"``, the latter times its weight.

        Without positives the box sum is 0 and still hangs on the predictions, so that every parameter of a dense box
        tower gets a gradient of 0 rather than none.

        Args:
            predictions: deltas of every anchor, or of some anchors with all positive ones among them.
            targets: anchors counted through the batch.
        """
        logits = predictions.logits
        with torch.autocast(logits.device.type, enabled=False):
            deltas = predictions.deltas_of(targets.positive_index)
            return {
                "classification": self.classification(logits.flatten(0, 1), targets),
                "box": self.box.weight * self._compare(deltas, targets).sum(),
            }

    def _compare(self, deltas: Tensor, targets: AnchorTargets) -> Tensor:
        """Return ``(P,)`` box losses in the space that the loss asks for."""
        anchors, boxes = targets.positive_anchors, targets.positive_boxes
        if self.box.space == "boxes":
            return self.box(decode_boxes(deltas, anchors), boxes)
        return self.box(deltas, encode_boxes(boxes, anchors).clamp(min=MIN_LOG_SCALE))
