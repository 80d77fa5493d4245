"""What a model's losses look like on images: one pass, numbers that fit on a page, nothing kept of an anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from retina.detection.anchors import AnchorGenerator
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import ClassificationLoss, FocalLoss
from retina.detection.losses.focal_family import SoftmaxFocalLoss
from retina.detection.postprocess import PostProcess
from retina.evaluation.detect import detect, evaluation_mode
from retina.lab.anchor_losses import FocalSettings, anchor_focal_losses, anchor_scores
from retina.lab.confusion import Confusion
from retina.lab.findings import Findings
from retina.lab.gradients import gradient_squares, shared_features
from retina.lab.levels import level_names, level_of, one_level
from retina.structures import AnchorTargets, Batch, Predictions

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)  # of figure 4 of Lin et al. 2017 without 5, of their figure 1 with it
DEFAULT_FOCAL = FocalSettings(alpha=0.25, gamma=2.0)


@dataclass(frozen=True)
class LossLab:
    """Looks at a model through a criterion on the images of a loader.

    Leaves random generators, weights, statistics of norms and buffers of the criterion as they were and asks no other
    rank: it may be called in the middle of a run, on one rank.
    """

    loader: Iterable[Batch]
    criterion: nn.Module  # a Criterion
    anchors: AnchorGenerator
    postprocess: PostProcess
    class_names: Sequence[str]
    device: torch.device
    autocast: Callable[[], AbstractContextManager] = nullcontext
    positive_iou: float = 0.5  # of the assigner: positives below it are an object's best anchors only
    score_threshold: float = 0.3  # of the confusion matrix
    gammas: Sequence[float] = GAMMAS

    def __call__(self, model: nn.Module) -> Findings:
        """Return what the losses of ``model`` look like, and leave everything as it was."""
        own = own_focal(self.criterion.classification)  # type: ignore[arg-type]
        findings = Findings.empty(
            levels=level_names(self.anchors.strides),
            class_names=self.class_names,
            gammas=sorted({*self.gammas, own.gamma}),
            focal=own,
            confusion=Confusion(len(self.class_names), self.score_threshold),
        )
        tiling = lru_cache(maxsize=16)(self.anchors)
        # A DataLoader draws a seed for its processes from the global generator each time it starts.
        with torch.random.fork_rng(devices=[]), evaluation_mode(model, self.criterion):
            for batch in self.loader:
                self._look(model, batch, tiling, findings)
        return findings

    def _look(self, model: nn.Module, batch: Batch, tiling: Callable, findings: Findings) -> None:
        targets = batch.targets.to(self.device)
        with torch.enable_grad(), shared_features(model) as features:
            detected, predictions = detect(
                model,
                batch.images.to(self.device),
                anchors=tiling,
                postprocess=self.postprocess,
                autocast=self.autocast,
                targets=batch.targets,
            )
            losses = self.criterion(predictions, targets)
            for name, loss in losses.items():
                findings.gradient_squares[name] += gradient_squares(loss, features).numpy()
            pull = _pull(losses["classification"], predictions.logits)
        with torch.no_grad():
            self._add_anchors(predictions, targets, pull, findings)
            self._add_positives(predictions, targets, findings)
            self._add_levels(predictions, targets, findings)
        for found, truth in zip(detected, batch.box_targets, strict=True):
            findings.confusion.add(found, truth)
        findings.num_images += len(batch)

    def _add_anchors(self, predictions: Predictions, targets: AnchorTargets, pull: Tensor, findings: Findings) -> None:
        logits = predictions.logits.flatten(0, 1)
        groups = _groups(len(logits), targets)
        softmax = findings.focal.softmax
        scores = anchor_scores(logits, targets, softmax=softmax)
        for name, members in groups.items():
            findings.add_scores(name, scores[members])
        findings.pull.add(torch.cat([pull[groups["positive"]], pull[groups["negative"]]]))
        for gamma in findings.gammas:
            settings = FocalSettings(findings.focal.alpha, gamma, softmax)
            losses = anchor_focal_losses(logits, targets, settings)
            for name in ("positive", "negative"):
                findings.losses[name][gamma].add(losses[groups[name]])
                findings.losses["all"][gamma].add(losses[groups[name]])

    def _add_positives(self, predictions: Predictions, targets: AnchorTargets, findings: Findings) -> None:
        level = level_of(targets.positive_index, predictions.grid_sizes, predictions.logits.shape[1])
        num_classes = len(self.class_names)
        place = (level * num_classes + targets.positive_labels).cpu()
        table = torch.bincount(place, minlength=findings.positives.size)
        findings.positives += table.view(findings.positives.shape).numpy()
        overlap = BoxPairs.of_boxes(targets.positive_anchors, targets.positive_boxes).iou
        poor = level[overlap < self.positive_iou].cpu()
        findings.low_quality += torch.bincount(poor, minlength=len(findings.low_quality)).numpy()

    def _add_levels(self, predictions: Predictions, targets: AnchorTargets, findings: Findings) -> None:
        for position in range(len(predictions.grid_sizes)):
            for name, loss in self.criterion(*one_level(predictions, targets, position)).items():
                findings.level_losses[name][position] += float(loss)


def own_focal(loss: ClassificationLoss) -> FocalSettings:
    """Return alpha and gamma of ``loss`` where it is a focal loss with one alpha, else those of the paper."""
    alpha, gamma = DEFAULT_FOCAL.alpha, DEFAULT_FOCAL.gamma
    if isinstance(loss, FocalLoss | SoftmaxFocalLoss):
        gamma = loss.gamma
        alpha = loss.alpha if isinstance(loss.alpha, float | int) else alpha
    return FocalSettings(float(alpha), float(gamma), softmax=loss.scores == "softmax")


def _pull(loss: Tensor, logits: Tensor) -> Tensor:
    """Return ``(S,)`` sums over the classes of the sizes of the gradient of ``loss`` in ``(B, A, K)`` logits."""
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient.flatten(0, 1).float().abs().sum(dim=1)


def _groups(num_anchors: int, targets: AnchorTargets) -> dict[str, Tensor]:
    """Return the positions of positive, ignored and all other anchors."""
    other = torch.ones(num_anchors, dtype=torch.bool, device=targets.positive_index.device)
    other[targets.positive_index] = False
    other[targets.ignored_index] = False
    return {
        "positive": targets.positive_index,
        "negative": other.nonzero().squeeze(1),
        "ignored": targets.ignored_index,
    }
