"""The two loss sums of a batch. Not normalised: the trainer knows the positives of the whole step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import ClassificationLoss
from retina.detection.losses.weighted import FocalWeights
from retina.ranges import AtLeast0, checked
from retina.structures import AnchorTargets, Predictions


@checked
class Criterion(nn.Module):
    """Classification and box loss of what the network predicts, as sums over anchors.

    A module because a loss may keep running statistics in buffers; it learns nothing. Computes in float32 whatever
    the precision of the network.
    """

    def __init__(
        self, classification: ClassificationLoss, box: BoxLoss, *, focal_gamma: AtLeast0 | None = None
    ) -> None:
        """Args: ``focal_gamma`` weighs each box by the focal factor of its anchor's class; None: all weigh the same."""
        super().__init__()
        self.classification, self.box = classification, box
        self.focal_weights = None if focal_gamma is None else FocalWeights(focal_gamma)

    @property
    def additive(self) -> bool:
        """Whether splitting a batch over ranks or micro-batches leaves both sums as they are."""
        return self.classification.additive and self.box.additive and self.focal_weights is None

    def forward(self, predictions: Predictions, targets: AnchorTargets) -> dict[str, Tensor]:
        """Return scalar float32 sums under ``"classification"`` and ``"box"``, the latter times its weight.

        Without positives the box sum is 0 and still hangs on the predictions, so that every parameter of a dense box
        tower gets a gradient of 0 rather than none. Deltas may be those of some anchors, all positive ones among them.
        """
        with torch.autocast(predictions.logits.device.type, enabled=False):
            logits = predictions.logits.flatten(0, 1)
            deltas = predictions.deltas_of(targets.positive_index)
            pairs = BoxPairs(deltas, targets.positive_anchors, targets.positive_boxes)
            box_losses = self.box(pairs)  # (P,)
            if self.focal_weights is not None:
                box_losses = box_losses * self.focal_weights(self.classification.miss(logits.detach(), targets))
            overlaps = (pairs.iou.detach().clamp(max=1.0),) if self.classification.needs_iou else ()
            return {
                "classification": self.classification(logits, targets, *overlaps),
                "box": self.box.weight * box_losses.sum(),
            }
