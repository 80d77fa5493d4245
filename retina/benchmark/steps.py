"""The work that is timed: one training step and one detection, on a batch that stays the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.postprocess import PostProcess
from retina.evaluation.detect import detect
from retina.structures import BoxTargets, Detections, ImageBatch, Predictions

Autocast = Callable[[], AbstractContextManager]


def without_progress(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Put the learning rate of ``optimizer`` at 0, so that every step does the same work, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    return optimizer


class Update(ABC):
    """One update by an ``optimizer`` after a ``loss()``: what ours and the peer's step have in common."""

    optimizer: torch.optim.Optimizer

    def __call__(self) -> Tensor:
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    @abstractmethod
    def loss(self) -> Tensor:
        """Return the scalar to be minimised."""


@dataclass(frozen=True)
class TrainStep(Update):
    """Assign, forward, loss, backward, update: as the trainer does it, without clipping and logging.

    The loader's processes assign in a training run; here the step is charged for it.
    """

    model: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    assigner: Assigner
    images: ImageBatch
    objects: Sequence[BoxTargets]  # one an image, on the host
    autocast: Autocast = nullcontext

    def loss(self) -> Tensor:
        height, width = self.images.pixels.shape[-2:]
        targets = self.assigner((height, width), self.objects)
        box_cells = targets.box_cells  # stays on the host
        targets = targets.to(self.images.pixels.device)
        with self.autocast():
            predictions = self.model(self.images, box_cells=box_cells)
        losses = self.criterion(predictions, targets)
        return torch.stack(list(losses.values())).sum() / max(targets.num_positives, 1)


@dataclass(frozen=True)
class Detection:
    """Forward and post-processing, as evaluation and prediction do it."""

    model: nn.Module
    postprocess: PostProcess
    anchors: AnchorGenerator
    images: ImageBatch
    autocast: Autocast = nullcontext

    @torch.inference_mode()
    def __call__(self) -> list[Detections]:
        detections, _ = detect(
            self.model, self.images, anchors=self.anchors, postprocess=self.postprocess, autocast=self.autocast
        )
        return detections

    @torch.inference_mode()
    def predictions(self) -> Predictions:
        """Return logits and deltas of every anchor, wanted or not."""
        with self.autocast():
            return self.model(self.images)
