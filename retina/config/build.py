"""From a composed configuration to built objects: the only place where targets are instantiated."""

from __future__ import annotations

import dataclasses
import os
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, get_type_hints

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from retina.data.augment import Augment
from retina.data.coco import CocoDataset
from retina.data.collate import Collate
from retina.data.loader import build_eval_loader, build_train_loader, suggested_workers
from retina.data.samplers import EvalBatchSampler, KeyedBatchSampler
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.classification import ClassificationLoss
from retina.errors import ConfigError
from retina.evaluation.pictures import evaluation_pictures
from retina.evaluation.predict import Evaluator
from retina.settings import ImageSettings, RunSettings
from retina.structures import Batch
from retina.training import distributed
from retina.training.optimizers import scaled_lr
from retina.training.precision import autocast, resolve_precision
from retina.training.progress import Progress, RunLength
from retina.training.trainer import Parts

_QUOTED = re.compile(r"'([\w.]+)'")  # the target, in Hydra's message


def run_settings(config: DictConfig) -> RunSettings:
    """Return all scalars of a training run."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    schemas: dict[str, Any] = get_type_hints(RunSettings)
    sections: dict[str, Any] = {
        name: schema(**values[name]) if isinstance(values[name], dict) else values[name]
        for name, schema in schemas.items()
    }
    return RunSettings(**sections)


@dataclass(frozen=True)
class Machine:
    """Where and in what precision the network runs."""

    device: torch.device
    precision: str

    @classmethod
    def resolve(cls, device: torch.device, precision: str, *, setting: str = "train.precision") -> Machine:
        """Return ``device`` with what ``precision=auto`` means there; errors name ``setting``."""
        return cls(device, resolve_precision(precision, device, setting=setting))

    @property
    def autocast(self) -> Callable[[], Any]:
        """Return a maker of contexts in which the network runs in the precision."""
        return partial(autocast, self.precision, self.device)


def build_node(node: Any, **filled_in: Any) -> Any:
    """Build the object that ``node`` names by its ``_target_``, or each one in a list of such nodes.

    Raises:
        RetinaError: as its constructor raised it.
        ConfigError: it cannot be imported, or its constructor refused a value.
    """
    try:
        return instantiate(node, **filled_in, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ImportError | TypeError | ValueError):
            target = _QUOTED.search(str(error))
            raise ConfigError(
                f"{target[1] if target else node} cannot be built with these settings",
                why=" ".join(str(cause).split()),
                fix="change the setting that is named above, or choose another option of its group",
            ) from cause
        raise cause or error from None  # Hydra's own exception hides what the user has to know


def seed_everything(seed: int) -> None:
    """Seed what draws without a key: the initialisation of weights, and transforms that use global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def open_split(folder: Any, split: str) -> CocoDataset:
    """Open one split; the main rank first, so that a data set that is made on first use is made once."""
    if not distributed.is_main():
        distributed.barrier()
        return folder.open(split)
    try:
        return folder.open(split)
    finally:  # also where it cannot be opened: the others will find out themselves
        distributed.barrier()


def build_assigner(node: Mapping[str, Any]) -> Assigner:
    """Build the anchors and the assigner from the one flat section ``anchors``."""
    names = {field.name for field in dataclasses.fields(AnchorGenerator)}
    values = {name: value for name, value in node.items() if name != "_target_"}
    generator = AnchorGenerator(**{name: value for name, value in values.items() if name in names})
    return Assigner(anchors=generator, **{name: value for name, value in values.items() if name not in names})


def build_model(
    node: Mapping[str, Any], *, num_classes: int, num_anchors: int, machine: Machine, channels_last: bool = True
) -> nn.Module:
    """Build the network of the section ``model`` on its device."""
    model = build_node(node, num_classes=num_classes, num_anchors=num_anchors)
    return model.to(machine.device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def build_criterion(config: DictConfig) -> Criterion:
    """Build the two losses; one that normalises itself is told how to sum over the ranks."""
    node = OmegaConf.to_container(config.loss.box, resolve=True)
    assert isinstance(node, dict)
    focal_gamma = node.pop("focal_gamma", None)
    criterion = Criterion(build_node(config.loss.classification), build_node(node), focal_gamma=focal_gamma)
    for loss in (criterion.classification, criterion.box, criterion.focal_weights):
        if loss is not None and not loss.additive:
            loss.sum_over_ranks = partial(_sum_over_ranks, loss)
    return criterion


def fit_to_loss(config: DictConfig, loss: ClassificationLoss, num_classes: int) -> DictConfig:
    """Return ``config`` with a network and a post-processing that make scores of logits as ``loss`` does.

    Raises:
        ConfigError: one of them is told otherwise, or the loss has weights for another number of classes.
    """
    num_outputs = num_classes + (loss.scores == "softmax")
    if loss.num_weights not in (None, num_outputs):
        raise ConfigError(
            f"loss.classification.alpha has {loss.num_weights} weights for {num_classes} classes",
            why=f"a list has one weight for each of the {num_outputs} class outputs of an anchor.",
            fix="give as many weights, or one number for all classes",
        )
    for section in ("model", "postprocess"):
        chosen = config[section].get("scores", loss.scores)
        if chosen != loss.scores:
            raise ConfigError(
                f"{section}.scores={chosen} does not fit loss.classification, which learns {loss.scores} scores",
                why="what the network learns and what is read from it would be different numbers.",
                fix=f"leave {section}.scores out: the loss decides it",
            )
    if loss.scores == "sigmoid":
        return config
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    config.model.scores = config.postprocess.scores = loss.scores
    return config


def _sum_over_ranks(loss: nn.Module, value: torch.Tensor) -> torch.Tensor:
    # In evaluation ranks have different numbers of batches: the one with more would wait for the others for ever.
    return distributed.sum_tensor_over_ranks(value) if loss.training else value


def build_optimizer(config: DictConfig, model: nn.Module, batch_size: int) -> torch.optim.Optimizer:
    """Build the optimizer with the learning rate that holds for ``batch_size`` images."""
    node = OmegaConf.to_container(config.optimizer, resolve=True)
    assert isinstance(node, dict)
    lr = scaled_lr(node.pop("lr"), node.pop("lr_batch_size", None), batch_size)
    return build_node(node, model=model, lr=lr)


def build_evaluator(
    dataset: CocoDataset,
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


def build_parts(
    config: DictConfig,
    run: RunSettings,
    machine: Machine,
    datasets: Mapping[str, CocoDataset],
    *,
    done: Progress | None = None,
) -> tuple[Parts, RunLength]:
    """Build what a run is made of, for the splits ``train`` and ``val``.

    ``done`` says what was made already; the checkpoint that says so brings the weights too.
    """
    train, val = datasets["train"], datasets["val"]
    criterion = build_criterion(config).to(machine.device)
    config = fit_to_loss(config, criterion.classification, train.num_classes)
    seed_everything(run.train.seed)
    assigner = build_assigner(config.anchors)
    model = build_model(
        {**config.model, "load_weights": done is None},
        num_classes=train.num_classes,
        num_anchors=assigner.anchors.num_per_cell,
        machine=machine,
        channels_last=run.train.channels_last,
    )
    evaluator = build_evaluator(
        val,
        image=run.image,
        assigner=assigner,
        postprocess=build_node(config.postprocess),
        machine=machine,
        batch_size=run.eval.batch_size,
        workers=run.train.workers,
    )
    parts = Parts(
        model=model,
        criterion=criterion,
        optimizer=build_optimizer(config, model, run.train.batch_size),
        schedule=build_node(config.schedule),
        make_loader=_train_loader_maker(config, run, train, assigner, machine),
        evaluate=replace(evaluator, criterion=criterion),
        draw=partial(evaluation_pictures, dataset=val, count=run.eval.num_pictures),
        identity={
            "config": OmegaConf.to_yaml(config, resolve=True),
            "class_names": list(train.class_names),
            "category_ids": list(train.category_ids),
        },
    )
    return parts, RunLength.from_settings(run.train, len(train), done=done)


def _workers(workers: int | None, machine: Machine) -> int:
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return suggested_workers(machine.device.type, ranks_here) if workers is None else workers


def _train_loader_maker(
    config: DictConfig, run: RunSettings, dataset: CocoDataset, assigner: Assigner, machine: Machine
) -> Callable[[int], Iterable[Batch]]:
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
