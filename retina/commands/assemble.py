"""From plain settings and sections to everything that a training run, an evaluation or a tool is made of."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from retina import distributed
from retina.build import build
from retina.data.augment import Augment, AugmentUntil
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset, subset
from retina.data.loader import build_eval_loader, build_train_loader, suggested_workers
from retina.data.samplers import EpochOrders, EvalBatchSampler, KeyedBatchSampler
from retina.data.sampling import Uniform
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.classification import ClassificationLoss
from retina.detection.losses.loss import Loss
from retina.errors import ConfigError
from retina.evaluation.evaluate import Evaluator
from retina.machine import Machine
from retina.ranges import length_in_images
from retina.settings import AugmentSettings, ImageSettings, RunSettings
from retina.structures import Batch
from retina.training.progress import RunLength

Sections = Mapping[str, Any]  # the parts of a configuration that are built, by name, as plain values


def seed_everything(seed: int) -> None:
    """Seed what draws without a key: the initialisation of weights, and transforms that use global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def open_split(folder: Any, split: str) -> DetectionDataset:
    """Open one split; the main rank first, so that a data set that is made on first use is made once."""
    if not distributed.is_main():
        distributed.barrier()
        return folder.open(split)
    try:
        return folder.open(split)
    finally:  # also where it cannot be opened: the others will find out themselves
        distributed.barrier()


def open_training_data(run: RunSettings, folder: Any) -> DetectionDataset:
    """Open the training split, or the share of it that ``dataset.fraction`` says."""
    dataset = open_split(folder, "train")
    share = run.dataset
    return dataset if share.fraction == 1 else subset(dataset, share.fraction, seed=share.fraction_seed)


def build_criterion(loss: Mapping[str, Any], focal_gamma: float | None = None) -> Criterion:
    """Build the two losses of the section ``loss``; one that normalises itself is told how to sum over the ranks."""
    criterion = Criterion(build(loss["classification"]), build(loss["box"]), focal_gamma=focal_gamma)
    for part in criterion.modules():
        if isinstance(part, Loss) and not part.additive:
            part.sum_over_ranks = partial(_sum_over_ranks, part)
    return criterion


def fit_to_loss(sections: Sections, loss: ClassificationLoss, num_classes: int) -> dict[str, Any]:
    """Return ``sections`` with a network and a post-processing that make scores of logits as ``loss`` does.

    Raises:
        ConfigError: one of them is told otherwise, or the loss has weights for another number of classes.
    """
    num_outputs = num_classes + (loss.scores == "softmax")
    if loss.num_weights not in (None, num_outputs):
        raise ConfigError(
            f"loss.classification.alpha has {loss.num_weights} weights for {num_classes} classes",
            why=f"a list has one weight for each of the {num_outputs} class outputs of an anchor"
            + (", the last one the background's." if num_outputs > num_classes else "."),
            fix=f"give {num_outputs} weights, or one number for all classes",
        )
    fitted = dict(sections)
    for name in ("model", "postprocess"):
        chosen = sections[name].get("scores", loss.scores)
        if chosen != loss.scores:
            raise ConfigError(
                f"{name}.scores={chosen} does not fit loss.classification, which learns {loss.scores} scores",
                why="what the network learns and what is read from it would be different numbers.",
                fix=f"choose a loss of {chosen} scores, or leave {name}.scores out: the loss decides it",
            )
        if loss.scores != "sigmoid":
            fitted[name] = {**sections[name], "scores": loss.scores}
    return fitted


def build_evaluator(
    dataset: DetectionDataset,
    *,
    image: ImageSettings,
    assigner: Assigner,
    postprocess: Any,
    machine: Machine,
    **loading: Any,
) -> Evaluator:
    """Build the evaluation of ``dataset``; ``loading``: ``batch_size`` a rank and ``workers``."""
    loader = build_eval_loader(
        dataset,
        Augment([], **image.one_size, seed=0),
        Collate(assigner),
        EvalBatchSampler(
            dataset.sizes,
            batch_size=loading["batch_size"],
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        ),
        workers=num_workers(loading["workers"], machine),
        pin_memory=machine.device.type == "cuda",
    )
    return Evaluator(
        loader=loader,
        dataset=dataset,
        postprocess=postprocess,
        anchors=assigner.anchors,
        machine=machine,
    )


def resolve_sampling(sections: Sections, batch_size: int) -> dict[str, Any]:
    """Return the section ``sampling``, empty where there is none, with what a run takes from its first batch size.

    Groups of similar images keep their size where a run is resumed with another batch size: their order depends on it,
    and within the epoch an image would come twice or not at all.
    """
    sampling = dict(sections.get("sampling") or {})
    return {**sampling, "group_size": batch_size} if sampling.get("group_size", 1) is None else sampling


def epoch_orders(sections: Sections, run: RunSettings, dataset: DetectionDataset) -> EpochOrders:
    """Return which images of ``dataset`` each epoch has, and in which order."""
    node = resolve_sampling(sections, run.train.batch_size)
    return (build(node) if node else Uniform()).orders(dataset)


def build_augment(node: Mapping[str, Any], run: RunSettings, length: RunLength) -> Augment | AugmentUntil:
    """Build the augmentation of the section ``augment``; with ``augment.until``, another one at the end of the run."""
    first, then = (
        Augment(build(transforms), **run.image.one_size, seed=run.train.seed)
        for transforms in (node.get("transforms") or [], run.augment.afterwards)
    )
    epoch = switch_epoch(run.augment, length)
    return first if epoch is None else AugmentUntil(first, then, epoch=epoch)


def switch_epoch(augment: AugmentSettings, length: RunLength) -> int | None:
    """Return the first epoch, counted from 0, after ``augment.until``: the nearest one; None for None.

    ``until`` is a length as those of schedules, or counted back from the end of the run: ``-2epoch``.
    """
    until = augment.until
    if until is None:
        return None
    back = isinstance(until, str) and until.startswith("-")
    images = length_in_images(
        until[1:] if back else until,  # type: ignore[index]
        run_images=length.num_images,
        images_per_epoch=length.images_per_epoch,
        setting="augment.until",
    )
    return max(0, int((length.num_images - images if back else images) / length.images_per_epoch + 0.5))


def train_loader_maker(
    sections: Sections,
    run: RunSettings,
    dataset: DetectionDataset,
    assigner: Assigner,
    machine: Machine,
    length: RunLength,
    *,
    orders: EpochOrders,
) -> Callable[[int], Iterable[Batch]]:
    """Return what makes the endless stream of this rank's micro-batches from a number of images already seen on.

    ``orders`` are those of :func:`epoch_orders`.
    """
    augment = build_augment(sections["augment"], run, length)

    def make_loader(start: int) -> Iterable[Batch]:
        sampler = KeyedBatchSampler(
            orders,
            batch_size=run.train.batch_size,
            accumulate=run.train.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            seed=run.train.seed,
            start=start,
            sizes=run.image.training_sizes,
        )
        return build_train_loader(
            dataset,
            augment,
            Collate(assigner),
            sampler,
            workers=num_workers(run.train.workers, machine),
            pin_memory=machine.device.type == "cuda",
            on_bad_image=dataset.on_bad_image,
        )

    return make_loader


def num_workers(workers: int | None, machine: Machine) -> int:
    """Return the loader processes of a rank: as asked for, or what suits the machine."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return suggested_workers(machine.device.type, ranks_here) if workers is None else workers


def _sum_over_ranks(loss: nn.Module, value: torch.Tensor) -> torch.Tensor:
    # In evaluation ranks have different numbers of batches: the one with more would wait for the others for ever.
    return distributed.sum_tensor_over_ranks(value) if loss.training else value
