"""What ``tools/benchmark.py`` does: the configured network on noise, beside itself without one fast path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from retina.benchmark.flops import convolution_peak
from retina.benchmark.measure import report
from retina.benchmark.speed import Variant, Workload, add_memory, measure_speed, variants
from retina.benchmark.steps import Detection, TrainStep, without_progress
from retina.benchmark.synthetic import synthetic_images, synthetic_scores, synthetic_targets
from retina.command_settings import MeasuringSettings
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
from retina.config.signatures import read_signature
from retina.detection.assign import Assigner
from retina.machine import resolve_device_type
from retina.models.backbones.resnet import resolve_norm
from retina.structures import ImageBatch

# The switches of the fast paths, and what turns each off. The numbers that a run computes are the same.
PLAIN = {
    "anchors.assign": "dense",
    "loss.classification.implementation": "plain",
    "model.box_tower": "dense",
    "model.backbone.fold_norm": False,
    "train.channels_last": False,
    "optimizer.fused": False,
}
_DIVISOR = 32  # of padded images, as in the collate function


def measure_config(config: DictConfig) -> None:
    """Print images a second, memory and share of the convolution peak of what ``config`` would train."""
    device = torch.device(resolve_device_type(config.train.device))
    machine = Machine.resolve(device, config.train.precision)
    settings = MeasuringSettings(**config.benchmark)
    rows_wanted = variants(machine.precision, switched_off(config))
    written = OmegaConf.to_yaml(config, resolve=True)
    workloads = [Workload(variant, prepare(written, variant), num_images(config, variant)) for variant in rows_wanted]
    peaks = {name: convolution_peak(device, Machine(device, name).autocast) for name in (machine.precision, "float32")}
    rows = measure_speed(workloads, repeats=settings.repeats, peaks=peaks)
    del workloads  # gives the memory back before other processes need it
    if settings.memory:
        add_memory(rows, prepare, [(written, variant) for variant in rows_wanted])
    height, width = canvas_of(config)
    report(
        "benchmark",
        rows,
        notes=[
            f"{num_images(config, rows_wanted[0])} image(s) of {height} x {width} a step, {settings.num_boxes} objects "
            f"an image, {settings.num_classes} classes; medians of {settings.repeats}, in turn; time: beside the first",
            "of peak: arithmetic done a second, as a share of what a 3x3 convolution of 256 channels reaches: "
            + ", ".join(f"{peak / 1e9:.0f} GFLOP/s in {name}" for name, peak in peaks.items()),
            "of peak, dense: as if all boxes had been computed; MiB: what a step adds to what stays",
        ],
        save=False,
    )


def switched_off(config: DictConfig) -> dict[str, Any]:
    """Return what switches off each fast path that ``config`` has on."""
    frozen = resolve_norm(config.model.norm, config.model.weights) == "frozen_bn"
    return {
        path: value
        for path, value in PLAIN.items()
        if (frozen or path != "model.backbone.fold_norm")  # no other norm is folded
        and OmegaConf.select(config, path) != value
        and _takes(OmegaConf.select(config, path.rpartition(".")[0]), path)
    }


def _takes(section: DictConfig, path: str) -> bool:
    """Tell whether what ``section`` builds has the setting; a loss or an optimizer of another kind may not."""
    if "_target_" not in section:
        return True
    signature = read_signature(section["_target_"])
    return signature is not None and path.rpartition(".")[2] in signature.parameters


def prepare(written: str, variant: Variant) -> Callable[[], object]:
    """Return one training step or one detection of the configuration ``written`` as YAML, ready to be called.

    The learning rate is 0, so that every step does the same work; weights are random.
    """
    config = OmegaConf.create(written)
    assert isinstance(config, DictConfig)
    for path, value in variant.changes.items():
        OmegaConf.update(config, path, value, force_add=True)
    settings = MeasuringSettings(**config.benchmark)
    machine = Machine(torch.device(resolve_device_type(config.train.device)), variant.precision)
    seed_everything(config.train.seed)
    loss = build_criterion(config).classification
    config = fit_to_loss(config, loss, settings.num_classes)
    assigner = build_assigner(config.anchors, center_heat=loss.needs_heat)
    model = build_model(
        {**config.model, "load_weights": False},
        num_classes=settings.num_classes,
        num_anchors=assigner.anchors.num_per_cell,
        machine=machine,
        channels_last=config.train.channels_last,
    )
    images = synthetic_images(num_images(config, variant), canvas_of(config)).to(machine.device)
    if variant.work == "train":
        return _train_step(config, settings, machine, assigner, model.train(), images)
    return _detection(config, settings, machine, assigner, model.eval(), images)


def num_images(config: Mapping[str, Any], variant: Variant) -> int:
    """Return the images of one call: those of one micro-batch, or those evaluated at once."""
    if variant.work == "detect":
        return config["eval"]["batch_size"]
    return max(1, config["train"]["batch_size"] // config["train"]["accumulate"])


def canvas_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of a 4:3 image of the configured size, padded as a batch is."""
    short, long = config["image"]["short_side"], config["image"]["long_side"]
    width = min(round(short * 4 / 3), long)
    return short + -short % _DIVISOR, width + -width % _DIVISOR


def _train_step(
    config: DictConfig,
    settings: MeasuringSettings,
    machine: Machine,
    assigner: Assigner,
    model: Any,
    images: ImageBatch,
) -> TrainStep:
    return TrainStep(
        model=model,
        criterion=build_criterion(config).to(machine.device),
        optimizer=without_progress(build_optimizer(config, model, config.train.batch_size)),
        assigner=assigner,
        images=images,
        objects=synthetic_targets(
            len(images), canvas_of(config), num_boxes=settings.num_boxes, num_classes=settings.num_classes
        ),
        autocast=machine.autocast,
    )


def _detection(
    config: DictConfig,
    settings: MeasuringSettings,
    machine: Machine,
    assigner: Assigner,
    model: Any,
    images: ImageBatch,
) -> Detection:
    canvas, anchors = canvas_of(config), assigner.anchors
    (objects,) = synthetic_targets(1, canvas, num_boxes=settings.num_boxes, num_classes=settings.num_classes)
    scores = synthetic_scores(anchors(anchors.grid_sizes(canvas)), objects, num_classes=settings.num_classes)
    scores.take_the_place_of(model.class_subnet.predict, model.class_subnet)
    return Detection(model, build_node(config.postprocess), anchors, images, machine.autocast)
