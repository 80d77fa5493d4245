"""train: train a detector, or resume a run exactly where it stopped."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from retina import distributed
from retina.build import build
from retina.commands.announce import say_data, say_end, say_length
from retina.commands.assemble import (
    Sections,
    build_criterion,
    build_evaluator,
    epoch_orders,
    fit_to_loss,
    open_split,
    open_training_data,
    resolve_sampling,
    seed_everything,
    train_loader_maker,
)
from retina.config.sections import as_text, with_norm
from retina.data.checks.start import check_on_main_rank
from retina.data.dataset import DetectionDataset
from retina.drawing.samples import evaluation_pictures
from retina.errors import CheckpointError, ConfigError, first_five
from retina.files import write_text_atomically
from retina.machine import Machine, resolve_device_type
from retina.models.network import build_model
from retina.settings import RunSettings
from retina.training.checkpoint import load_checkpoint, resolve_checkpoint
from retina.training.manifest import update_manifest, write_manifest
from retina.training.progress import Progress, RunLength
from retina.training.run_directory import create_run_directory
from retina.training.run_log import RunLog
from retina.training.trainer import Parts, Trainer


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """The scalars of configs/train.yaml, which says what they mean."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left."""

    run_dir: Path
    metrics: Mapping[str, Any]  # of the last evaluation, 0..1, None where COCO says -1
    best_metrics: Mapping[str, Any]  # of the best one; empty where none had an AP
    best_step: int
    steps: int


def run(settings: RunSettings, sections: Sections) -> TrainingResult:
    """Train to the end of the run, or resume the one that ``settings.resume`` names."""
    with distributed.processes(resolve_device_type(settings.train.device)) as device:
        machine = Machine.resolve(device, settings.train.precision, prefix="train.")
        return _train(*_resolved(settings, sections, machine), machine)


def _train(settings: RunSettings, sections: Sections, machine: Machine) -> TrainingResult:
    resumed, done = _load_resumed(settings.resume) if settings.resume else (None, None)
    _check_batch_size(settings)
    folder = build(sections["dataset"])
    datasets = {"train": open_training_data(settings, folder), "val": open_split(folder, settings.eval.split)}
    train = datasets["train"]
    _check_same_classes(train, datasets["val"])
    checked = check_on_main_rank(datasets, settings.train.check_data)
    criterion = build_criterion(sections["loss"], settings.loss.focal_gamma).to(machine.device)
    sections = fit_to_loss(sections, criterion.classification, train.num_classes)
    if resumed:
        _check_scores_kept(sections, str(resumed["config"]))
    parts, length = build_parts(settings, sections, machine, datasets, criterion, done=done)
    # Made last: where the data or the weights cannot be used, the same command with the mistake mended finds it free.
    run_dir = Path(settings.resume or create_run_directory(settings.run_dir, name=sections["dataset"]["name"]))
    settings = replace(settings, run_dir=str(run_dir))
    written = as_text(settings, sections)
    with RunLog(run_dir, num_steps=length.num_steps, resume_step=done.step if done else None) as log:
        trainer = Trainer(parts, settings, length, machine, run_dir=run_dir, run_log=log)
        if resumed:
            trainer.load_state_dict(resumed)
        if distributed.is_main():  # only now: a checkpoint that was refused keeps the configuration that it had
            _write_start(run_dir, written, settings, machine, datasets)
        say_data(log, datasets, checked)
        say_length(log, settings, sections, machine, parts, length)
        log.configuration(written, trainer.progress.step)
        try:
            trainer.fit()
        finally:
            if distributed.is_main():
                update_manifest(run_dir, seconds=trainer.phases.seconds(), bad_images=trainer.bad_images.summary())
        say_end(log, trainer, run_dir)
    progress = trainer.progress
    return TrainingResult(run_dir, trainer.metrics, trainer.best_metrics, progress.best_step, progress.step)


def build_parts(
    settings: RunSettings,
    sections: Sections,
    machine: Machine,
    datasets: Mapping[str, DetectionDataset],
    criterion: Any,
    *,
    done: Progress | None = None,
) -> tuple[Parts, RunLength]:
    """Build what a run is made of, for the splits ``train`` and ``val``.

    ``done`` says what was made already; the checkpoint that says so brings the weights too.
    """
    train, val = datasets["train"], datasets["val"]
    seed_everything(settings.train.seed)
    assigner = build(sections["anchors"], center_heat=criterion.classification.needs_heat)
    model = build_model(
        sections["model"],
        num_classes=train.num_classes,
        num_anchors=assigner.anchors.num_per_cell,
        machine=machine,
        channels_last=settings.train.channels_last,
        load_weights=done is None,
    )
    _check_strides(assigner.anchors.strides, model.strides)
    evaluator = build_evaluator(
        val,
        image=settings.image,
        assigner=assigner,
        postprocess=build(sections["postprocess"]),
        machine=machine,
        batch_size=settings.eval.batch_size,
        workers=settings.train.workers,
    )
    orders = epoch_orders(sections, settings, train)
    length = RunLength.from_settings(settings.train, orders.length, done=done)
    parts = Parts(
        model=model,
        criterion=criterion,
        optimizer=build(sections["optimizer"], model=model, batch_size=settings.train.batch_size),
        schedule=build(sections["schedule"]),
        make_loader=train_loader_maker(sections, settings, train, assigner, machine, length, orders=orders),
        evaluate=replace(evaluator, criterion=criterion),
        draw=lambda found: evaluation_pictures(found.detections, dataset=val, count=settings.eval.num_pictures),
        identity=_identity(settings, sections, train),
        num_images=len(train),
        notes=orders.notes,
        look=_build_panels(settings, evaluator, assigner, criterion, machine),
    )
    return parts, length


def _build_panels(settings: RunSettings, evaluator: Any, assigner: Any, criterion: Any, machine: Machine) -> Any:
    """Build what shows the losses of a few validation images during training; None where nobody asks for it."""
    if settings.log.focal_every in (0, "0"):
        return None
    # Of the second ring, and large: only a run that asks for it imports it.
    looking = importlib.import_module("retina.lab.looking")
    return looking.build_panels(settings, evaluator, assigner, criterion, machine)


def _identity(settings: RunSettings, sections: Sections, train: DetectionDataset) -> dict[str, Any]:
    """Return what every checkpoint says of itself."""
    return {
        "config": as_text(settings, sections),
        "class_names": list(train.class_names),
        "category_ids": list(train.category_ids),
    }


def _resolved(settings: RunSettings, sections: Sections, machine: Machine) -> tuple[RunSettings, dict[str, Any]]:
    """Return the configuration with what was ``auto`` decided, as it is saved and shown."""
    precision: Any = machine.precision
    settings = replace(settings, train=replace(settings.train, precision=precision))
    resolved = {**sections, "model": with_norm(sections["model"])}
    if "sampling" in sections:
        resolved["sampling"] = resolve_sampling(sections, settings.train.batch_size)
    return settings, resolved


def _load_resumed(run_dir: str) -> tuple[dict[str, Any], Progress]:
    """Return the newest checkpoint of a run and where the run stood."""
    path = resolve_checkpoint(run_dir, prefer="last")
    state, done = load_checkpoint(path, required_keys=("config", "progress", "model", "optimizer")), Progress()
    done.load_state_dict(state["progress"])
    return state, done


def _check_batch_size(settings: RunSettings) -> None:
    train = settings.train
    parts = distributed.world_size() * train.accumulate
    if train.batch_size % parts:
        raise ConfigError(
            f"train.batch_size={train.batch_size} cannot be divided by {distributed.world_size()} ranks x "
            f"train.accumulate={train.accumulate}",
            why="train.batch_size is the number of images of one optimizer step, over all ranks and micro-batches.",
            fix=f"train.batch_size={max(1, round(train.batch_size / parts)) * parts}",
        )


def _check_strides(given: Any, strides: Any) -> None:
    if tuple(given) != strides:
        raise ConfigError(
            f"anchors.strides={list(given)}, but the levels of the model have the strides {list(strides)}",
            why="anchors would not stand where the features are that they are made of.",
            fix=f"anchors.strides={list(strides)}".replace(" ", ""),
        )


def _check_same_classes(train: DetectionDataset, val: DetectionDataset) -> None:
    classes = [set(zip(each.category_ids, each.class_names, strict=True)) for each in (train, val)]
    if (train.class_names, train.category_ids) != (val.class_names, val.category_ids):
        raise ConfigError(
            f"{train.annotations.source} and {val.annotations.source} have different categories: "
            f"{first_five(sorted(classes[0] ^ classes[1]))}",
            why="a label would mean one class in training and another in evaluation.",
            fix="give both files the same list of categories, also of those without a box",
        )


def _check_scores_kept(sections: Sections, trained: str) -> None:
    """Check that a resumed run learns the kind of scores of ``trained``, the configuration in its checkpoint.

    Raises:
        CheckpointError: it has learned another.
    """
    before = ((yaml.safe_load(trained) or {}).get("model") or {}).get("scores", "sigmoid")
    now = sections["model"].get("scores", "sigmoid")
    if now != before:
        raise CheckpointError(
            f"loss.classification learns {now} scores, but the run has learned {before} scores so far",
            why="the network would need other class outputs, and those it has would mean something else.",
            fix="resume with the loss of the run, or start a new run",
        )


def _write_start(
    run_dir: Path, config: str, settings: RunSettings, machine: Machine, datasets: Mapping[str, DetectionDataset]
) -> None:
    write_text_atomically(run_dir / "config.yaml", config)
    files = {
        split: {"annotations": dataset.annotations.source, "sha256": dataset.fingerprint, "images": len(dataset)}
        for split, dataset in datasets.items()
    }
    write_manifest(run_dir, seed=settings.train.seed, precision=machine.precision, datasets=files)
