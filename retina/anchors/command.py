"""anchors: report on the configured anchors, fit others, judge both on held-out boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from retina.anchors.coverage import Coverage, NetworkBoxes, measure_coverage
from retina.anchors.fit import FitGoal, Objective, class_weights, fit_anchors, gain
from retina.anchors.pictures import write_pictures
from retina.anchors.report import coverage_report, format_comparison, format_coverage, legend
from retina.anchors.verdict import Verdict, refuse_existing, write_anchors
from retina.build import build
from retina.commands.assemble import Sections, open_split, open_training_data
from retina.data.augment import MIN_SIDE
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.findings import in_short
from retina.data.transforms.resize import resized_size
from retina.detection.assign import Assigner
from retina.drawing.tables import progress
from retina.errors import ConfigError, DataError
from retina.files import write_text_atomically
from retina.ranges import AtLeast1, Count, Matches, checked
from retina.settings import ImageSettings, RunSettings

HELD_OUT = 5  # one of so many train images judges where there is no val split


@dataclass(frozen=True)
class Split:
    """One split as the anchors see it."""

    dataset: DetectionDataset
    objects: NetworkBoxes

    @property
    def name(self) -> str:
        return self.dataset.split


@checked
@dataclass(frozen=True)
class FitSettings:
    """How anchors that fit a data set are looked for."""

    search: bool
    goal: FitGoal
    num_scales: AtLeast1 | None
    num_ratios: AtLeast1 | None
    balance_classes: bool
    max_boxes: AtLeast1
    num_pictures: Count


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """The scalars of configs/anchors.yaml, which says what they mean."""

    fit: FitSettings
    out: str
    save_as: Annotated[
        str | None, Matches("[A-Za-z0-9_][A-Za-z0-9_-]*", "letters, digits, _ and -, as in anchors=mine")
    ]


def run(settings: Settings, sections: Sections) -> dict[str, Any]:
    """Report on the anchors, fit others unless told not to, write everything into ``settings.out``; return it too."""
    fit, image, out = settings.fit, settings.image, Path(settings.out)
    refuse_existing(settings.save_as)
    assigner = build(sections["anchors"], center_heat=False)
    splits = open_splits(settings, sections)
    sizes = image.multi_scale and f", in training one of {', '.join(map(str, image.multi_scale))}"
    print(f"image     short side {image.short_side}{sizes or ''}, long side at most {image.long_side}")
    before = [measure(split, assigner) for split in splits]
    reports = {}
    for split, found in zip(splits, before, strict=True):
        reports[split.name] = {"before": report(split, found, assigner)}
        print()
        print(format_coverage(f"{split.name}: present anchors", reports[split.name]["before"]))
    print(f"\n{legend(assigner.positive_iou, assigner.negative_iou)}")
    written: dict[str, Any] = {"dataset": sections["dataset"]["name"], "image": asdict(image), "splits": reports}
    written["anchors"] = {"before": asdict(assigner.anchors)}
    named = [("before", assigner)]
    if fit.search:
        fitted, verdict = _fit(settings, splits, before, assigner, reports)
        written["anchors"]["after"] = asdict(fitted.anchors)
        written["verdict"] = asdict(verdict)
        named.append(("after", fitted))
        rows = [(f"{name} {kind}", found) for name, kinds in reports.items() for kind, found in kinds.items()]
        print(f"\n{format_comparison(rows)}\n\n{verdict}")
        write_anchors(settings, sections, fitted.anchors, verdict, rows)
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomically(out / "anchors_report.json", json.dumps(written, indent=1) + "\n")
    print(f"figures written to {out / 'anchors_report.json'}")
    write_pictures(splits[-1].dataset, splits[-1].objects, image, named, out, fit.num_pictures)
    return written


def open_splits(settings: RunSettings, sections: Sections) -> list[Split]:
    """Return ``train``, and ``val`` where the data set has it with objects in it.

    Raises:
        DataError: train has no object.
    """
    folder = build(sections["dataset"])
    datasets = [open_training_data(settings, folder)]
    if "val" in folder.splits:
        datasets.append(open_split(folder, "val"))
    splits = []
    for dataset in datasets:
        objects = network_boxes(dataset, settings.image, seed=settings.train.seed)
        notes = in_short(dataset.findings)
        if thin := dataset.num_objects - len(objects):
            what = "box is" if thin == 1 else "boxes are"
            notes.append(f"note: {thin} {what} thinner than {MIN_SIDE} px on the network, left out as in training")
        print(f"{dataset.split:<10}{len(dataset)} images, {len(objects)} objects: {dataset.annotations.source}")
        for line in notes:
            print(f"          {line}")
        if len(objects):
            splits.append(Split(dataset, objects))
        elif dataset is datasets[0]:
            crowds = int(dataset.crowd.sum())
            raise DataError(
                f"there is no object to fit anchors to: {dataset.annotations.source}",
                why=f"all of its {crowds} annotations are crowds" if crowds else "it has no usable annotation",
                fix="give annotations with objects: dataset.train.annotations=<file>",
            )
    return splits


def network_boxes(dataset: DetectionDataset, image: ImageSettings, *, seed: int) -> NetworkBoxes:
    """Return the objects of ``dataset`` as they reach the network without augmentation, each image on its own canvas.

    In a batch an image may stand on a larger canvas; that adds anchors beyond the image and moves none. Where
    training draws from several sizes, each training image has one of them, drawn by ``seed``.
    """
    several = image.training_sizes if dataset.split == "train" else []
    choices = several or [(image.short_side, image.long_side)]
    drawn = np.random.default_rng([seed, 3]).integers(len(choices), size=len(dataset))
    kinds, kind = np.unique(np.column_stack([dataset.sizes, drawn]), axis=0, return_inverse=True)
    limits = [choices[choice] for choice in kinds[:, 2]]
    resized = np.array(
        [
            resized_size(height, width, short_side=short, long_side=long)
            for (height, width), (short, long) in zip(kinds[:, :2].tolist(), limits, strict=True)
        ]
    )
    kind = kind.reshape(-1)
    objects = ~dataset.crowd
    owner = np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))[objects]
    scale = (resized / kinds[:, :2])[kind][owner][:, [1, 0, 1, 0]]
    boxes = (dataset.annotations.training_boxes[objects] * scale).astype(np.float32)
    found = NetworkBoxes(
        boxes=boxes,
        image=owner,
        canvases=(-(-resized // Collate.size_divisor) * Collate.size_divisor)[kind],
        labels=np.asarray(dataset.labels[objects]),
        original_areas=np.asarray(dataset.areas[objects]),
    )
    return found[(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)]


def measure(split: Split, assigner: Assigner) -> Coverage:
    """Return what ``assigner`` does for the boxes of ``split``, with a bar on a terminal."""
    with progress(f"{split.name} boxes", len(split.objects)) as bar:
        return measure_coverage(assigner, split.objects, bar.to)


def report(split: Split, coverage: Coverage, assigner: Assigner) -> dict[str, Any]:
    """Return the figures of one split as plain values."""
    return coverage_report(coverage, split.objects, split.dataset.class_names, assigner)


def _fit(
    settings: Settings,
    splits: list[Split],
    before: list[Coverage],
    assigner: Assigner,
    reports: Mapping[str, dict[str, Any]],
) -> tuple[Assigner, Verdict]:
    """Return fitted anchors with the verdict of held-out boxes, and add their figures to ``reports``."""
    fit, start, train, seed = settings.fit, assigner.anchors, splits[0].objects, settings.train.seed
    judging = _judging_images(splits, seed)
    sample = train if len(splits) > 1 else train[~judging]
    if len(sample) > fit.max_boxes:
        sample = sample[np.sort(np.random.default_rng([seed, 2]).choice(len(sample), fit.max_boxes, replace=False))]
    weights = class_weights(sample.labels, balanced=fit.balance_classes)
    objective = Objective(sample, start, weights=weights, goal=fit.goal, positive_iou=assigner.positive_iou)
    print(f"\nfitting to {len(sample)} of {len(train)} boxes, goal {fit.goal}")
    counts = fit.num_scales or len(start.scales), fit.num_ratios or len(start.aspect_ratios)
    found = fit_anchors(objective, start, num_scales=counts[0], num_ratios=counts[1], seed=seed, tell=print)
    fitted = replace(assigner, anchors=found)
    after = [measure(split, fitted) for split in splits]
    for split, coverage in zip(splits, after, strict=True):
        reports[split.name]["after"] = report(split, coverage, fitted)
    chosen = splits[-1].objects[judging]
    context = {"image": chosen.image, "weights": class_weights(chosen.labels, balanced=fit.balance_classes)}
    iou = [coverages[-1].best_iou[judging] for coverages in (before, after)]
    reached = [(values >= np.float32(assigner.positive_iou)).astype(np.float64) for values in iou]
    gains = {"iou": gain(*iou, **context), "share": gain(*reached, **context)}
    judge = splits[-1].name if len(splits) > 1 else f"one in {HELD_OUT} train images, held out"
    share = float(reached[0].mean())
    return fitted, Verdict.of(gains, goal=fit.goal, judge=judge, reached=share, changed=found != start)


def _judging_images(splits: list[Split], seed: int) -> np.ndarray:
    """Return which boxes of the last split judge: all of val, or those of the train images that are not fitted to."""
    objects = splits[-1].objects
    if len(splits) > 1:
        return np.ones(len(objects), dtype=bool)
    images = np.unique(objects.image)
    if len(images) < 2:
        raise ConfigError(
            "anchors cannot be fitted to one image",
            why="others must tell whether what fits it fits the next one.",
            fix="fit.search=false for the report alone, or give a val split",
        )
    drawn = np.random.default_rng([seed, 1]).permutation(images)[: max(1, len(images) // HELD_OUT)]
    return np.isin(objects.image, drawn)
