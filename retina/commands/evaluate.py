"""evaluate: score a checkpoint on a split, or a COCO results file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from retina import distributed
from retina.build import build
from retina.commands.assemble import Sections, build_evaluator, open_split
from retina.detector import Detector
from retina.errors import ConfigError
from retina.evaluation.results import format_metrics, write_evaluation
from retina.evaluation.results_file import evaluate_detections_file
from retina.machine import Machine, resolve_device_type
from retina.ranges import AtLeast1, Count, Excludes, Needs, OrElse
from retina.settings import Device, Precision, SplitName


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The scalars of configs/evaluate.yaml, which says what they mean."""

    ckpt: Annotated[str | None, OrElse("detections", "detections and annotations")]
    split: SplitName | None
    detections: Annotated[
        str | None,
        Excludes("ckpt", "one is a model, the other is its result"),
        Needs("annotations"),
        Needs("run_dir", "no run owns a results file"),
    ]
    annotations: Annotated[str | None, Needs("detections")]
    run_dir: str | None
    batch_size: AtLeast1
    workers: Count | None
    device: Device
    precision: Precision


@dataclass(frozen=True)
class EvaluationResult:
    """The numbers of an evaluation, and where they were written."""

    metrics: Mapping[str, Any]  # 0..1, None where COCO says -1; empty on other ranks than the main one
    folder: Path


def run(settings: Settings, sections: Sections) -> EvaluationResult:
    """Score, print the table, write metrics.json, and of a checkpoint detections.json; return the numbers."""
    if settings.detections is not None:
        return _score_file(settings.detections, str(settings.annotations), settings)
    with distributed.processes(resolve_device_type(settings.device, setting="device")) as device:
        return _score_checkpoint(settings, sections, Machine.resolve(device, settings.precision))


def _score_file(detections: str, annotations: str, settings: Settings) -> EvaluationResult:
    metrics = evaluate_detections_file(detections, annotations, say=print)
    out = Path(str(settings.run_dir))
    # At the top, where one looks for it, and where every run directory has it.
    for folder in (out, out / "eval" / (settings.split or "val")):
        write_evaluation(folder, metrics=metrics)
    print(format_metrics(metrics))
    print(f"\nwritten to {out / 'metrics.json'}")
    return EvaluationResult(metrics, out)


def _score_checkpoint(settings: Settings, sections: Sections, machine: Machine) -> EvaluationResult:
    detector = Detector.load(str(settings.ckpt), machine=machine)
    folder, split = data_folder(sections, detector), settings.split or "val"
    dataset = open_split(folder, split)
    evaluator = build_evaluator(
        dataset,
        image=detector.image,
        assigner=detector.assigner,
        postprocess=detector.postprocess,
        machine=machine,
        batch_size=settings.batch_size,
        workers=settings.workers,
    )
    ids = detector.category_ids_in(dataset.class_names, dataset.category_ids, dataset.annotations.source)
    evaluation = replace(evaluator, category_ids=ids)(detector.model)
    name = split if folder.name == detector.dataset["name"] else f"{folder.name}-{split}"
    out = Path(settings.run_dir or detector.owner) / "eval" / name
    if distributed.is_main():
        write_evaluation(out, metrics=evaluation.metrics, results=evaluation.results)
        print(f"{detector.path} on {len(dataset)} images of {folder.name} {split}\n")
        print(format_metrics(evaluation.metrics))
        print(f"\nwritten to {out}")
    return EvaluationResult(evaluation.metrics, out)


def data_folder(sections: Sections, detector: Detector) -> Any:
    """Return the data set that the command chooses, else the one that the detector was trained on."""
    given = {name: value for name, value in sections.get("dataset", {}).items() if value is not None}
    node = given if "_target_" in given else {**detector.dataset, **given}
    if "_target_" not in node:
        raise ConfigError(
            f"the checkpoint was trained on a data set {node['name']!r} of a kind that is not rebuilt from a file",
            fix="choose the data to evaluate on: dataset=<name> dataset.root=<folder>",
        )
    return build(node)
