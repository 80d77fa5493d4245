"""From built parts to the loss lab: a few fixed images of a data set, and what looks at a model through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.loader import build_eval_loader
from retina.data.samplers import EvalBatchSampler, SampleKey
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.postprocess import PostProcess
from retina.drawing.samples import spread_indices
from retina.evaluation.evaluate import Evaluator
from retina.lab.diagnosis import LossLab
from retina.machine import Machine
from retina.settings import ImageSettings, RunSettings
from retina.training.tensorboard import Panels

# In training: enough positives for steady curves, few enough for a second or two.
NUM_IMAGES = 16


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
