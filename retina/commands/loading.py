"""From a composed configuration to what brings images: splits, loaders, the evaluation pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retina import distributed
from retina.commands.building import Machine, build_node
from retina.data.augment import Augment, AugmentUntil
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.loader import build_eval_loader, build_train_loader, suggested_workers
from retina.data.samplers import EpochOrders, EvalBatchSampler, KeyedBatchSampler
from retina.data.sampling import Uniform
from retina.data.subset import subset
from retina.detection.assign import Assigner
from retina.evaluation.evaluate import Evaluator
from retina.settings import ImageSettings, RunSettings, length_in_images
from retina.structures import Batch
from retina.training.progress import RunLength


def open_training_data(config: DictConfig, folder: Any) -> DetectionDataset:
    """Open the training split, or the share of it that ``dataset.fraction`` says."""
    dataset = open_split(folder, "train")
    fraction = config.dataset.get("fraction", 1.0)
    return dataset if fraction == 1 else subset(dataset, fraction, seed=config.dataset.get("fraction_seed", 0))


def open_split(folder: Any, split: str) -> DetectionDataset:
    """Open one split; the main rank first, so that a data set that is made on first use is made once."""
    if not distributed.is_main():
        distributed.barrier()
        return folder.open(split)
    try:
        return folder.open(split)
    finally:  # also where it cannot be opened: the others will find out themselves
        distributed.barrier()


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
        workers=_workers(loading["workers"], machine),
        pin_memory=machine.device.type == "cuda",
    )
    return Evaluator(
        loader=loader,
        dataset=dataset,
        postprocess=postprocess,
        anchors=assigner.anchors,
        device=machine.device,
        autocast=machine.autocast,
        gather=distributed.gather_objects,
        is_main=distributed.is_main(),
    )


def resolve_sampling(config: DictConfig) -> DictConfig:
    """Return the section ``sampling``, empty where there is none, with what a run takes from its first batch size.

    Groups of similar images keep their size where a run goes on with another batch size: their order depends on it, and
    within the epoch an image would come twice or not at all.
    """
    sampling = config.get("sampling") or OmegaConf.create()
    if "group_size" in sampling and sampling.group_size is None:
        return OmegaConf.merge(sampling, {"group_size": config.train.batch_size})  # type: ignore[return-value]
    return sampling


def epoch_orders(config: DictConfig, dataset: DetectionDataset) -> EpochOrders:
    """Return which images of ``dataset`` each epoch has, and in which order."""
    node = resolve_sampling(config)
    return (build_node(node) if node else Uniform()).orders(dataset)


def build_augment(node: Mapping[str, Any], run: RunSettings, length: RunLength) -> Augment | AugmentUntil:
    """Build the augmentation of the section ``augment``; with ``until``, another one at the end of the run."""
    first, then = (
        Augment(build_node(node.get(name) or []), **run.image.one_size, seed=run.train.seed)
        for name in ("transforms", "afterwards")
    )
    epoch = switch_epoch(node.get("until"), length)
    return first if epoch is None else AugmentUntil(first, then, epoch=epoch)


def switch_epoch(until: float | str | None, length: RunLength) -> int | None:
    """Return the first epoch, counted from 0, after ``augment.until``: the nearest one; None for None.

    ``until`` is a length as those of schedules, or counted back from the end of the run: ``-2epoch``.
    """
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
    config: DictConfig,
    run: RunSettings,
    dataset: DetectionDataset,
    assigner: Assigner,
    machine: Machine,
    length: RunLength,
    *,
    orders: EpochOrders | None = None,
) -> Callable[[int], Iterable[Batch]]:
    """Return what makes the endless stream of this rank's micro-batches from a number of images already seen on.

    ``orders`` are those of :func:`epoch_orders`, made here where they are not given.
    """
    orders = epoch_orders(config, dataset) if orders is None else orders
    augment = build_augment(config.augment, run, length)

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
            workers=_workers(run.train.workers, machine),
            pin_memory=machine.device.type == "cuda",
            on_bad_image=dataset.on_bad_image,
        )

    return make_loader


def _workers(workers: int | None, machine: Machine) -> int:
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return suggested_workers(machine.device.type, ranks_here) if workers is None else workers
