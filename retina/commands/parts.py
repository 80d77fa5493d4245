"""From a composed configuration to everything that a training run is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retina.commands.building import (
    Machine,
    build_assigner,
    build_criterion,
    build_model,
    build_node,
    build_optimizer,
    fit_to_loss,
    seed_everything,
)
from retina.commands.loading import build_evaluator, epoch_orders, train_loader_maker
from retina.commands.looking import build_panels
from retina.data.dataset import DetectionDataset
from retina.drawing.samples import evaluation_pictures
from retina.settings import RunSettings
from retina.training.progress import Progress, RunLength
from retina.training.trainer import Parts


def build_parts(
    config: DictConfig,
    run: RunSettings,
    machine: Machine,
    datasets: Mapping[str, DetectionDataset],
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
    assigner = build_assigner(config.anchors, center_heat=criterion.classification.needs_heat)
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
    orders = epoch_orders(config, train)
    length = RunLength.from_settings(run.train, orders.length, done=done)
    parts = Parts(
        model=model,
        criterion=criterion,
        optimizer=build_optimizer(config, model, run.train.batch_size),
        schedule=build_node(config.schedule),
        make_loader=train_loader_maker(config, run, train, assigner, machine, length, orders=orders),
        evaluate=replace(evaluator, criterion=criterion),
        draw=lambda evaluation: evaluation_pictures(evaluation.detections, dataset=val, count=run.eval.num_pictures),
        identity=_identity(config, train),
        num_images=len(train),
        notes=orders.notes,
        look=build_panels(run, evaluator, assigner, criterion, machine),
    )
    return parts, length


def _identity(config: DictConfig, train: DetectionDataset) -> dict[str, Any]:
    """Return what every checkpoint says of itself."""
    return {
        "config": OmegaConf.to_yaml(config, resolve=True),
        "class_names": list(train.class_names),
        "category_ids": list(train.category_ids),
    }
