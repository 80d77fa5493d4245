"""From a composed configuration to what brings images: splits, loaders, the evaluation pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig

from retina.config.build import Machine, build_node
from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.loader import build_eval_loader, build_train_loader, suggested_workers
from retina.data.samplers import EvalBatchSampler, KeyedBatchSampler
from retina.detection.assign import Assigner
from retina.evaluation.predict import Evaluator
from retina.settings import ImageSettings, RunSettings
from retina.structures import Batch
from retina.training import distributed


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
        Augment([], **asdict(image), seed=0),
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


def train_loader_maker(
    config: DictConfig, run: RunSettings, dataset: DetectionDataset, assigner: Assigner, machine: Machine
) -> Callable[[int], Iterable[Batch]]:
    """Return what makes the endless stream of this rank's micro-batches from a number of images already seen on."""
    augment = Augment(
        build_node(config.augment.transforms),
        **asdict(run.image),
        seed=run.train.seed,
    )

    def make_loader(start: int) -> Iterable[Batch]:
        sampler = KeyedBatchSampler(
            len(dataset),
            batch_size=run.train.batch_size,
            accumulate=run.train.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            seed=run.train.seed,
            start=start,
        )
        return build_train_loader(
            dataset,
            augment,
            Collate(assigner),
            sampler,
            workers=_workers(run.train.workers, machine),
            pin_memory=machine.device.type == "cuda",
        )

    return make_loader


def _workers(workers: int | None, machine: Machine) -> int:
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return suggested_workers(machine.device.type, ranks_here) if workers is None else workers
