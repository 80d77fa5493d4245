"""benchmark: the configured network on noise, beside itself without one fast path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from retina.benchmark.measure import peak_memory, report
from retina.benchmark.speed import Variant, Workload, convolution_peak, measure_speed, variants
from retina.benchmark.steps import Detection, TrainStep, without_progress
from retina.benchmark.synthetic import synthetic_images, synthetic_scores, synthetic_targets
from retina.build import build
from retina.commands.assemble import Sections, build_criterion, fit_to_loss, seed_everything
from retina.config.signatures import read_signature
from retina.machine import Machine
from retina.models.network import build_model
from retina.ranges import AtLeast1, checked
from retina.settings import RunSettings, resolve_norm

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


@checked
@dataclass(frozen=True)
class MeasuringSettings:
    """What is measured, and how often."""

    num_boxes: AtLeast1
    num_classes: AtLeast1
    repeats: AtLeast1
    memory: bool


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """The scalars of configs/benchmark.yaml, which says what they mean."""

    benchmark: MeasuringSettings


@dataclass(frozen=True)
class Measured:
    """What is built and measured, of plain values, so that another process can do the same."""

    settings: RunSettings
    sections: Sections
    num_boxes: int  # objects an image
    num_classes: int

    def changed(self, changes: Mapping[str, Any]) -> Measured:
        """Return the same with other values of settings, by their dotted paths."""
        settings, sections = self.settings, deepcopy(dict(self.sections))
        for path, value in changes.items():
            first, name = path.split(".")[0], path.rpartition(".")[2]
            if first in sections:
                _around(sections, path)[name] = value
            else:
                settings = replace(settings, **{first: replace(getattr(settings, first), **{name: value})})
        return replace(self, settings=settings, sections=sections)


def run(settings: Settings, sections: Sections) -> None:
    """Print images a second, memory and share of the convolution peak of what these settings would train."""
    train, measuring = settings.train, settings.benchmark
    machine = Machine.resolve(train.device, train.precision, prefix="train.")
    measured = Measured(settings, sections, measuring.num_boxes, measuring.num_classes)
    rows_wanted = variants(machine.precision, switched_off(measured))
    workloads = [Workload(each, prepare(measured, each), num_images(settings, each)) for each in rows_wanted]
    peaks = {name: convolution_peak(Machine(machine.device, name)) for name in (machine.precision, "float32")}
    rows = measure_speed(workloads, repeats=measuring.repeats, peaks=peaks)
    del workloads  # gives the memory back before other processes need it
    if measuring.memory:
        for row, variant in zip(rows, rows_wanted, strict=True):
            row["MiB"] = peak_memory(prepare, measured, variant)
    height, width = canvas_of(settings)
    report(
        "benchmark",
        rows,
        notes=[
            f"{num_images(settings, rows_wanted[0])} image(s) of {height} x {width} a step, {measuring.num_boxes} "
            f"objects an image, {measuring.num_classes} classes; medians of {measuring.repeats}, in turn; time: beside "
            "the first",
            "of peak: arithmetic done a second, as a share of what a 3x3 convolution of 256 channels reaches: "
            + ", ".join(f"{peak / 1e9:.0f} GFLOP/s in {name}" for name, peak in peaks.items()),
            "of peak, dense: as if all boxes had been computed; MiB: what a step adds to what stays",
        ],
        save=False,
    )


def switched_off(measured: Measured) -> dict[str, Any]:
    """Return what switches off each fast path that ``measured`` has on."""
    model = measured.sections["model"]
    frozen = resolve_norm(model.get("norm", "auto"), model.get("weights")) == "frozen_bn"
    return {
        path: value
        for path, value in PLAIN.items()
        if (frozen or path != "model.backbone.fold_norm")  # no other norm is folded
        and _differs(measured, path, value)
    }


def _differs(measured: Measured, path: str, value: Any) -> bool:
    """Return whether what is built has the setting at ``path``, with another value; some losses have it not."""
    first, name = path.split(".")[0], path.rpartition(".")[2]
    if first not in measured.sections:
        return getattr(getattr(measured.settings, first), name) != value
    node = _around(measured.sections, path)
    signature = read_signature(node["_target_"]) if "_target_" in node else None
    return signature is not None and name in signature.settings and node.get(name) != value


def _around(sections: Sections, path: str) -> Any:
    """Return the mapping in which the setting at ``path`` stands."""
    return functools.reduce(lambda node, name: node[name], path.split(".")[:-1], sections)


def prepare(measured: Measured, variant: Variant) -> Callable[[], object]:
    """Return one training step or one detection, ready to be called.

    The learning rate is 0, so that every step does the same work; weights are random.
    """
    measured = measured.changed(variant.changes)
    settings = measured.settings
    machine = Machine.resolve(settings.train.device, variant.precision, prefix="train.")
    seed_everything(settings.train.seed)
    criterion = build_criterion(measured.sections["loss"], settings.loss.focal_gamma)
    sections = fit_to_loss(measured.sections, criterion.classification, measured.num_classes)
    assigner = build(sections["anchors"], center_heat=criterion.classification.needs_heat)
    model: Any = build_model(
        sections["model"],
        num_classes=measured.num_classes,
        num_anchors=assigner.anchors.num_per_cell,
        machine=machine,
        channels_last=settings.train.channels_last,
        load_weights=False,
    )
    canvas, count = canvas_of(settings), num_images(settings, variant)
    images = synthetic_images(count, canvas).to(machine.device)
    objects = synthetic_targets(count, canvas, num_boxes=measured.num_boxes, num_classes=measured.num_classes)
    if variant.work == "train":
        optimizer = build(sections["optimizer"], model=model, batch_size=settings.train.batch_size)
        criterion, optimizer = criterion.to(machine.device), without_progress(optimizer)
        return TrainStep(model.train(), criterion, optimizer, assigner, images, objects, machine.autocast)
    anchors = assigner.anchors
    scores = synthetic_scores(anchors(anchors.grid_sizes(canvas)), objects[0], num_classes=measured.num_classes)
    scores.take_the_place_of(model.class_subnet.predict, model.class_subnet)
    return Detection(model.eval(), build(sections["postprocess"]), anchors, images, machine.autocast)


def num_images(settings: RunSettings, variant: Variant) -> int:
    """Return the images of one call: those of one micro-batch, or those evaluated at once."""
    if variant.work == "detect":
        return settings.eval.batch_size
    return max(1, settings.train.batch_size // settings.train.accumulate)


def canvas_of(settings: RunSettings) -> tuple[int, int]:
    """Return height and width of a 4:3 image of the configured size, padded as a batch is."""
    short, long = settings.image.short_side, settings.image.long_side
    width = min(round(short * 4 / 3), long)
    return short + -short % _DIVISOR, width + -width % _DIVISOR
