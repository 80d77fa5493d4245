"""What the commands do: a training run, an evaluation, a predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from retina import distributed
from retina.commands.announce import say_data, say_end, say_length
from retina.commands.building import (
    Machine,
    build_assigner,
    build_data_folder,
    build_model,
    build_node,
    check_scores_kept,
    fit_to_loss,
    run_settings,
)
from retina.commands.loading import build_evaluator, open_split, open_training_data, resolve_sampling
from retina.commands.parts import build_parts
from retina.commands.predict import Predictor
from retina.config.saved import model_config_from
from retina.data.augment import Augment
from retina.data.checks.start import check_on_main_rank
from retina.data.dataset import DetectionDataset
from retina.errors import CheckpointError, ConfigError, first_five
from retina.evaluation.results import evaluate_detections_file, write_evaluation
from retina.evaluation.table import format_metrics
from retina.machine import resolve_device_type
from retina.models.backbones.resnet import resolve_norm
from retina.settings import ImageSettings, RunSettings
from retina.training.checkpoint import load_checkpoint, resolve_checkpoint
from retina.training.manifest import update_manifest, write_manifest
from retina.training.progress import Progress
from retina.training.run_directory import create_run_directory
from retina.training.run_log import RunLog
from retina.training.trainer import Trainer


def train(config: DictConfig) -> None:
    """Train the run that ``config`` describes to its end, or go on with the one that ``config.resume`` names."""
    device = distributed.setup(resolve_device_type(config.train.device))
    try:
        _train(config, device)
    finally:
        distributed.teardown()


def _train(config: DictConfig, device: torch.device) -> None:
    machine = Machine.resolve(device, config.train.precision)
    resumed, done = _load_resumed(config.resume) if config.resume else (None, None)
    command, config = config, _resolve(config, machine)
    run = run_settings(config)
    _check_batch_size(run)
    folder = build_data_folder(config.dataset)
    datasets = {"train": open_training_data(config, folder), "val": open_split(folder, run.eval.split)}
    _check_same_classes(datasets["train"], datasets["val"])
    checked = check_on_main_rank(datasets, run.train.check_data)
    # Here, so that config.yaml says it too.
    config = fit_to_loss(config, build_node(config.loss.classification), datasets["train"].num_classes)
    if resumed:
        check_scores_kept(config, str(resumed["config"]))
    parts, length = build_parts(config, run, machine, datasets, done=done)
    # Made last: where the data or the weights cannot be used, the same command with the mistake mended finds it free.
    run_dir = Path(config.resume) if config.resume else create_run_directory(config.run_dir, name=config.dataset.name)
    command.run_dir = config.run_dir = str(run_dir)  # the command keeps the traceback of an error there
    with RunLog(
        run_dir,
        num_steps=length.num_steps,
        is_main=distributed.is_main(),
        resume_step=done.step if done else None,
    ) as log:
        trainer = Trainer(parts, run, length, run_dir=run_dir, run_log=log, precision=machine.precision)
        if resumed:
            trainer.load_state_dict(resumed)
        if distributed.is_main():  # only now: a checkpoint that was refused goes on with the configuration it had
            _write_start(run_dir, config, run, machine, datasets)
        say_data(log, datasets, checked)
        say_length(log, config, machine, parts, length)
        log.configuration(OmegaConf.to_yaml(config), trainer.progress.step)
        try:
            trainer.fit()
        finally:
            if distributed.is_main():
                update_manifest(run_dir, seconds=trainer.phases.seconds(), bad_images=trainer.bad_images.summary())
        say_end(log, trainer, run_dir)


def evaluate(config: DictConfig) -> None:
    """Evaluate the checkpoint ``config.ckpt``, or score the results file ``config.detections``."""
    if config.detections is not None:
        _evaluate_file(config)
        return
    device = distributed.setup(resolve_device_type(config.device, setting="device"))
    try:
        _evaluate_checkpoint(config, Machine.resolve(device, config.precision, section=""))
    finally:
        distributed.teardown()


def load_predictor(config: DictConfig) -> Predictor:
    """Build the detector of the checkpoint ``config.ckpt`` for single images."""
    device = torch.device(resolve_device_type(config.device, setting="device"))
    machine = Machine.resolve(device, config.precision, section="")
    state = load_trained(resolve_checkpoint(config.ckpt))
    saved = model_config_from(str(state["config"]))
    assigner = build_assigner(saved["anchors"])
    return Predictor(
        model=load_model(saved, state, assigner.anchors.num_per_cell, machine),
        augment=Augment([], **ImageSettings(**saved["image"]).one_size, seed=0),
        anchors=assigner.anchors,
        postprocess=build_node(saved["postprocess"]),
        class_names=state["class_names"],
        category_ids=state["category_ids"],
        device=machine.device,
        autocast=machine.autocast,
    )


def _load_resumed(run_dir: str) -> tuple[dict[str, Any], Progress]:
    """Return the newest checkpoint of a run and where the run stood."""
    path = resolve_checkpoint(run_dir, prefer="last")
    state, done = load_checkpoint(path, required_keys=("config", "progress", "model", "optimizer")), Progress()
    done.load_state_dict(state["progress"])
    return state, done


def load_trained(path: Path) -> dict[str, Any]:
    """Return a checkpoint that a detector can be built from; it may be a stranger's."""
    state = load_checkpoint(path, required_keys=("config", "class_names", "category_ids", "model", "ema"))
    names, ids = state["class_names"], state["category_ids"]
    if not (_are_all(names, str) and _are_all(ids, int) and len(names) == len(ids)):
        raise CheckpointError(
            f"the classes in the checkpoint cannot be used: {path}",
            why="class_names must be texts and category_ids as many whole numbers.",
            fix="use a checkpoint that this program wrote",
        )
    return state


def _are_all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _resolve(config: DictConfig, machine: Machine) -> DictConfig:
    """Return the configuration with what was ``auto`` decided, as it is saved and shown."""
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    config.train.precision = machine.precision
    config.model.norm = resolve_norm(config.model.norm, config.model.weights)
    if "sampling" in config:
        config.sampling = resolve_sampling(config)
    return config


def _check_batch_size(run: RunSettings) -> None:
    parts = distributed.world_size() * run.train.accumulate
    if run.train.batch_size % parts:
        raise ConfigError(
            f"train.batch_size={run.train.batch_size} cannot be divided by {distributed.world_size()} ranks x "
            f"train.accumulate={run.train.accumulate}",
            why="train.batch_size is the number of images of one optimizer step, over all ranks and micro-batches.",
            fix=f"train.batch_size={max(1, round(run.train.batch_size / parts)) * parts}",
        )


def _check_same_classes(train: DetectionDataset, val: DetectionDataset) -> None:
    if (train.class_names, train.category_ids) != (val.class_names, val.category_ids):
        different = sorted(set(zip(train.category_ids, train.class_names, strict=True))
                           ^ set(zip(val.category_ids, val.class_names, strict=True)))  # fmt: skip
        raise ConfigError(
            f"{train.annotations.source} and {val.annotations.source} have different categories: "
            f"{first_five(different)}",
            why="a label would mean one class in training and another in evaluation.",
            fix="give both files the same list of categories, also of those without a box",
        )


def _write_start(
    run_dir: Path, config: DictConfig, run: RunSettings, machine: Machine, datasets: Mapping[str, DetectionDataset]
) -> None:
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    files = {
        split: {"annotations": dataset.annotations.source, "sha256": dataset.fingerprint, "images": len(dataset)}
        for split, dataset in datasets.items()
    }
    write_manifest(run_dir, seed=run.train.seed, precision=machine.precision, datasets=files)


def _evaluate_file(config: DictConfig) -> None:
    metrics = evaluate_detections_file(config.detections, config.annotations, say=print)
    out = Path(config.run_dir)
    # At the top, where one looks for it, and where every run directory has it.
    for folder in (out, out / "eval" / (config.split or "val")):
        write_evaluation(folder, metrics=metrics)
    print(format_metrics(metrics))
    print(f"\nwritten to {out / 'metrics.json'}")


def _evaluate_checkpoint(config: DictConfig, machine: Machine) -> None:
    path = resolve_checkpoint(config.ckpt)
    state = load_trained(path)
    saved = model_config_from(str(state["config"]))
    folder = build_folder(config, saved)
    split = config.split or "val"
    dataset = open_split(folder, split)
    assigner = build_assigner(saved["anchors"])
    evaluator = build_evaluator(
        dataset,
        image=ImageSettings(**saved["image"]),
        assigner=assigner,
        postprocess=build_node(saved["postprocess"]),
        machine=machine,
        batch_size=config.batch_size,
        workers=config.workers,
    )
    category_ids = _category_ids(state["class_names"], dataset)
    model = load_model(saved, state, assigner.anchors.num_per_cell, machine)
    evaluation = replace(evaluator, category_ids=category_ids)(model)
    if not distributed.is_main():
        return
    owner = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    name = split if folder.name == saved["dataset"]["name"] else f"{folder.name}-{split}"
    out = Path(config.run_dir or owner) / "eval" / name
    write_evaluation(out, metrics=evaluation.metrics, results=evaluation.results)
    print(f"{path} on {len(dataset)} images of {folder.name} {split}\n")
    print(format_metrics(evaluation.metrics))
    print(f"\nwritten to {out}")


def build_folder(config: DictConfig, saved: Mapping[str, Any]) -> Any:
    """Return the data set that ``config`` chooses, else the one that the checkpoint was trained on."""
    chosen = OmegaConf.to_container(config.dataset, resolve=True)
    assert isinstance(chosen, dict)
    given = {name: value for name, value in chosen.items() if value is not None}
    node = given if "_target_" in given else {**saved["dataset"], **given}
    if "_target_" not in node:
        raise ConfigError(
            f"the checkpoint was trained on a data set {node['name']!r} of a kind that is not rebuilt from a file",
            fix="choose the data to evaluate on: dataset=<name> dataset.root=<folder>",
        )
    return build_data_folder(node)


def _category_ids(class_names: list[str], dataset: DetectionDataset) -> list[int]:
    """Return the data set's category id of each of the detector's classes, found by name."""
    ids = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
    unknown = [name for name in class_names if name not in ids]
    if unknown:
        raise ConfigError(
            f"the checkpoint detects classes that {dataset.annotations.source} does not have: {first_five(unknown)}",
            why=f"the file has {first_five(dataset.class_names)}.",
            fix="evaluate on a data set with the same class names",
        )
    return [ids[name] for name in class_names]


def load_model(
    saved: Mapping[str, Any], state: Mapping[str, Any], num_anchors: int, machine: Machine
) -> torch.nn.Module:
    """Build the network of a checkpoint with its averaged weights, else its newest."""
    model = build_model(
        {**saved["model"], "weights": None},
        num_classes=len(state["class_names"]),
        num_anchors=num_anchors,
        machine=machine,
    )
    try:
        model.load_state_dict(state["ema"]["model"] if state["ema"] is not None else state["model"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            "the weights in the checkpoint do not fit the network that its configuration describes",
            why=str(error).splitlines()[0],
            fix="use a checkpoint that this program wrote",
        ) from error
    return model.eval()
