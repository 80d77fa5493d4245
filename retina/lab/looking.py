"""A model looked at through its losses: one pass over a few fixed images, whose panels keep numbers, no anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.loader import build_eval_loader
from retina.data.samplers import EvalBatchSampler, SampleKey
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.classification import ClassificationLoss, FocalLoss
from retina.detection.losses.focal_family import SoftmaxFocalLoss
from retina.detection.postprocess import PostProcess
from retina.drawing.figures import styled, to_pixels
from retina.drawing.pages import PageTable
from retina.drawing.samples import spread_indices
from retina.evaluation.detect import detect, evaluation_mode
from retina.evaluation.evaluate import Evaluator
from retina.lab.anchor_losses import FocalSettings
from retina.lab.look import Look, LookedAt, Subject, make_panels
from retina.lab.pyramid import gradient_squares, level_names, shared_features
from retina.machine import Machine
from retina.settings import ImageSettings, RunSettings
from retina.structures import Batch
from retina.training.tensorboard import Panels

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)  # of figure 4 of Lin et al. 2017 without 5, of their figure 1 with it
DEFAULT_FOCAL = FocalSettings(alpha=0.25, gamma=2.0)
# In training: enough positives for steady curves, few enough for a second or two.
NUM_IMAGES = 16


@dataclass
class Diagnosis:
    """What the losses of a model look like on images, panel by panel."""

    subject: Subject
    panels: Sequence[Look]
    num_images: int = 0

    def __getitem__(self, kind: type[Look]) -> Any:
        """Return the panel of class ``kind``."""
        return next(panel for panel in self.panels if type(panel) is kind)

    def record(self) -> dict[str, Any]:
        """Return every number that is drawn, for a JSON file."""
        names = {"levels": list(self.subject.levels), "class_names": list(self.subject.class_names)}
        panels = {name: value for panel in self.panels for name, value in panel.record().items()}
        return {"num_images": self.num_images, **names, **panels}

    def tables(self) -> list[PageTable]:
        """Return the tables of a page: what is better read than seen, then those of the panels."""
        rows: list[tuple[Any, ...]] = [("images", f"{self.num_images:,}")]
        rows += [row for panel in self.panels for row in panel.glance()]
        glance = PageTable("At a glance", ("what", "value"), rows)
        return [glance, *(table for panel in self.panels for table in panel.tables())]

    def for_tensorboard(self) -> Panels:
        """Return pictures, histograms and numbers, all of whose names begin with ``loss_lab/``."""
        with styled():
            pictures = {f"loss_lab/{panel.name}": to_pixels(panel.figure()) for panel in self.panels}
        histograms = [pair for panel in self.panels for pair in panel.histograms().items()]
        numbers = [pair for panel in self.panels for pair in panel.numbers().items()]
        return Panels(
            pictures,
            {f"loss_lab/{name}": found for name, found in histograms},
            {f"loss_lab/{name}": number for name, number in numbers},
        )


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
    positive_iou: float = 0.5  # of the assigner
    score_threshold: float = 0.3  # of the confusion matrix
    gammas: Sequence[float] = GAMMAS

    def __call__(self, model: nn.Module) -> Diagnosis:
        """Return what the losses of ``model`` look like, and leave everything as it was."""
        diagnosis = self.begin()
        tiling = lru_cache(maxsize=16)(self.anchors)
        # A DataLoader draws a seed for its processes from the global generator each time it starts.
        with torch.random.fork_rng(devices=[]), evaluation_mode(model, self.criterion):
            for batch in self.loader:
                looked_at = self._look(model, batch, tiling)
                with torch.no_grad():
                    for panel in diagnosis.panels:
                        panel.add(looked_at)
                diagnosis.num_images += len(batch)
        return diagnosis

    def begin(self) -> Diagnosis:
        """Return the diagnosis of no image."""
        own = own_focal(self.criterion.classification)  # type: ignore[arg-type]
        subject = Subject(
            levels=level_names(self.anchors.strides),
            class_names=self.class_names,
            criterion=self.criterion,
            focal=own,
            gammas=sorted({*self.gammas, own.gamma}),
            positive_iou=self.positive_iou,
            score_threshold=self.score_threshold,
        )
        return Diagnosis(subject, make_panels(subject))

    def _look(self, model: nn.Module, batch: Batch, tiling: Callable) -> LookedAt:
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
            squares = {name: gradient_squares(loss, features).numpy() for name, loss in losses.items()}
            (gradient,) = torch.autograd.grad(losses["classification"], predictions.logits)
            pull = gradient.flatten(0, 1).float().abs().sum(dim=1)
        return LookedAt(predictions, targets, squares, pull, detected, batch.box_targets)


def own_focal(loss: ClassificationLoss) -> FocalSettings:
    """Return alpha and gamma of ``loss`` where it is a focal loss with one alpha, else those of the paper."""
    own = loss if isinstance(loss, FocalLoss | SoftmaxFocalLoss) else DEFAULT_FOCAL
    alpha = own.alpha if isinstance(own.alpha, float | int) else DEFAULT_FOCAL.alpha
    return FocalSettings(float(alpha), float(own.gamma), softmax=loss.scores == "softmax")


@dataclass(frozen=True)
class Amount:
    """How many images are looked at, and how they are loaded."""

    max_images: int | None = NUM_IMAGES  # None: all
    batch_size: int = 4
    workers: int = 0


def build_loss_lab(
    dataset: DetectionDataset,
    *,
    image: ImageSettings,
    assigner: Assigner,
    criterion: Criterion,
    postprocess: PostProcess,
    machine: Machine,
    amount: Amount = Amount(),  # noqa: B008  # frozen
) -> LossLab:
    """Build what looks at a model on images that are spread evenly over ``dataset``, always the same ones.

    ``assigner`` makes the targets as in training, so it was built for ``criterion``.
    """
    indices = chosen_images(dataset, amount.max_images)
    order = EvalBatchSampler(dataset.sizes[indices], batch_size=amount.batch_size)
    loader = build_eval_loader(
        dataset,
        Augment([], **image.one_size, seed=0),
        Collate(assigner),
        [[SampleKey(0, int(indices[key.index])) for key in batch] for batch in order],  # type: ignore[arg-type]
        workers=amount.workers,
        pin_memory=machine.device.type == "cuda",
    )
    return LossLab(
        loader=loader,
        criterion=criterion,
        anchors=assigner.anchors,
        postprocess=postprocess,
        class_names=dataset.class_names,
        device=machine.device,
        autocast=machine.autocast,
        positive_iou=assigner.positive_iou,
    )


def build_panels(
    run: RunSettings, evaluator: Evaluator, assigner: Assigner, criterion: Criterion, machine: Machine
) -> Callable[[nn.Module], Panels] | None:
    """Build what shows the losses of a few validation images during training; None where nobody asks for it."""
    if run.log.focal_every in (0, "0"):
        return None
    lab = build_loss_lab(
        evaluator.dataset,
        image=run.image,
        assigner=assigner,
        criterion=criterion,
        postprocess=evaluator.postprocess,
        machine=machine,
        amount=Amount(batch_size=min(run.eval.batch_size, NUM_IMAGES)),
    )
    return lambda model: lab(model).for_tensorboard()


def chosen_images(dataset: DetectionDataset, max_images: int | None) -> np.ndarray:
    """Return the indices of ``max_images`` images, those with objects first, ascending."""
    count = len(dataset) if max_images is None else min(max_images, len(dataset))
    return np.sort(np.array(spread_indices(np.diff(dataset.offsets) > 0, count), dtype=np.int64))
