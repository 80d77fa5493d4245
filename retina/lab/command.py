"""loss_lab: pictures of the losses, and of what they do to a trained model on data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from retina.commands.assemble import Sections, build_criterion, num_workers, open_split
from retina.commands.evaluate import data_folder
from retina.config.compose import CONFIGS, group_options
from retina.config.saved import loss_config_from
from retina.data.dataset import DetectionDataset
from retina.detection.criterion import Criterion
from retina.detector import Detector
from retina.drawing.figures import as_file, styled
from retina.drawing.pages import PageFigure, PageTable, render_page
from retina.errors import CheckpointError, ConfigError, RetinaError, first_five
from retina.files import write_text_atomically
from retina.lab.curve_panels import BOX_PANELS, CLASS_PANELS, LossFamily
from retina.lab.look import LOSSES, Panel
from retina.lab.looking import Amount, Diagnosis, build_loss_lab, chosen_images
from retina.machine import Machine
from retina.ranges import AtLeast1, Count, Share
from retina.settings import Device, Precision, SplitName

# Stands beside a loss that is looked at alone.
_BESIDE = {
    "classification": {"_target_": "retina.detection.losses.classification.FocalLoss"},
    "box": {"_target_": "retina.detection.losses.box.L1Loss"},
}
PAGE, NUMBERS = "loss_lab.html", "loss_lab.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The scalars of configs/loss_lab.yaml, which says what they mean."""

    ckpt: str | None
    split: SplitName
    max_images: AtLeast1 | None
    score_threshold: Share
    batch_size: AtLeast1
    workers: Count | None
    device: Device
    precision: Precision
    out: str | None


def run(settings: Settings, sections: Sections) -> None:
    """Write pictures of every loss, with ``settings.ckpt`` also of that model's losses on data, and one page of all."""
    chosen = {part: node for part in LOSSES if (node := sections.get("loss", {}).get(part)) is not None}
    if chosen and settings.ckpt is None:
        raise ConfigError(
            f"loss/{next(iter(chosen))} was chosen without a checkpoint",
            why="it says through which loss a trained model is looked at; without one every loss is drawn.",
            fix="leave it out, or add ckpt=<run directory>",
        )
    shown, numbers, facts = [], {}, {"losses": "as configs/loss sets them"}
    out = Path(settings.out or "loss_lab")
    if settings.ckpt is not None:
        diagnosis, facts, own_out = look_at_checkpoint(settings, sections, chosen)
        out = Path(settings.out or own_out)
        numbers["findings"] = diagnosis.record()
        shown.append(page_section("A trained model on data", diagnosis.panels, tables=diagnosis.tables()))
    print("drawing the losses", flush=True)
    curves = []
    for part, kinds in (("classification", CLASS_PANELS), ("box", BOX_PANELS)):
        found = families(part)
        panels = [kind(found) for kind in kinds]
        numbers[f"{part}_losses"] = {panel.key: panel.curves for panel in panels}
        curves += [panel for panel in panels if panel.curves]
    shown.append(page_section("The losses themselves", curves))
    write_everything(out, facts, shown, {"facts": facts, **numbers})
    number = sum(len(section["figures"]) for section in shown)
    print(f"written to {out}: {PAGE} with {number} pictures, each as .svg too, and their numbers in {NUMBERS}")


def families(part: str) -> list[LossFamily]:
    """Return every loss of ``configs/loss/<part>``, as its file sets it."""

    def build(node: Mapping[str, Any], **changes: Any) -> Any:
        return getattr(build_criterion({**_BESIDE, part: {**node, **changes}}), part)

    found = []
    for option in group_options()[f"loss/{part}"]:
        node = yaml.safe_load((CONFIGS / "loss" / part / f"{option}.yaml").read_text(encoding="utf-8"))
        found.append(LossFamily(option, node, partial(build, node)))
    return found


def look_at_checkpoint(
    settings: Settings, sections: Sections, chosen: Mapping[str, Any]
) -> tuple[Diagnosis, dict[str, str], Path]:
    """Return what the checkpoint's losses look like, facts to show beside it, and where its pictures belong."""
    detector = Detector.load(str(settings.ckpt), machine=Machine.resolve(settings.device, settings.precision))
    criterion, about = rebuild_criterion(detector, chosen)
    folder = data_folder(sections, detector)
    dataset = open_split(folder, settings.split)
    _check_classes(detector.class_names, dataset)
    lab = build_loss_lab(
        dataset,
        image=detector.image,
        assigner=replace(detector.assigner, center_heat=criterion.classification.needs_heat),
        criterion=criterion.to(detector.machine.device),
        postprocess=detector.postprocess,
        machine=detector.machine,
        amount=Amount(settings.max_images, settings.batch_size, num_workers(settings.workers, detector.machine)),
    )
    number = len(chosen_images(dataset, settings.max_images))
    data_shown = f"{folder.name} {settings.split}, {number} of {len(dataset)} images"
    facts = {"checkpoint": str(detector.path), "data": data_shown, **about}
    print("\n".join(f"{name:<21}{value}" for name, value in facts.items()), flush=True)
    diagnosis = replace(lab, score_threshold=settings.score_threshold)(detector.model)
    own = folder.name == detector.dataset["name"] and settings.split == "val"
    return diagnosis, facts, detector.owner / ("loss_lab" if own else f"loss_lab-{folder.name}-{settings.split}")


def rebuild_criterion(detector: Detector, chosen: Mapping[str, Any]) -> tuple[Criterion, dict[str, str]]:
    """Return the losses that a checkpoint was trained with, or those ``chosen`` instead, and which they are.

    Where the checkpoint's are not rebuilt (a class of the user's own), the standard ones take their place and the facts
    say so: only listed classes are built of a stranger's configuration.

    Raises:
        ConfigError: the loss learns other scores than the network was trained for.
    """
    try:
        own, origin = loss_config_from(detector.config), "as in training"
    except CheckpointError as error:
        own = dict(_BESIDE)
        origin = f"standard (the checkpoint's own is not rebuilt: {error.what.partition(': ')[2]})"
    nodes = {**own, **chosen}
    criterion = build_criterion(nodes, nodes.get("focal_gamma"))
    scores, learned = criterion.classification.scores, detector.postprocess.scores
    if scores != learned:
        raise ConfigError(
            f"the checkpoint has learned {learned} scores, and the classification loss is for {scores} scores",
            why="its logits would be read as something else.",
            fix="leave loss/classification out" if "classification" in chosen else "choose loss/classification=...",
        )
    if not chosen and origin == "as in training":
        _load_statistics(criterion, detector.statistics)
    origins = {part: "chosen now" if part in chosen else origin for part in LOSSES}
    texts = {part: str(getattr(criterion, part)).replace("\n", " ") for part in LOSSES}
    return criterion, {f"{part} loss": f"{texts[part]}, {origins[part]}" for part in LOSSES}


def write_everything(
    out: Path, facts: Mapping[str, str], sections: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any]
) -> None:
    """Write the page, each picture and the numbers into ``out``, which is made.

    Raises:
        RetinaError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for figure in (figure for section in sections for figure in section["figures"]):
            write_text_atomically(out / f"{figure.name}.svg", as_file(figure.svg))
        write_text_atomically(out / NUMBERS, json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        page = render_page("loss_lab.html", title="Loss lab", facts=facts, sections=sections)
        write_text_atomically(out / PAGE, page)
    except OSError as error:
        raise RetinaError(
            f"the pictures cannot be written: {error.filename or out}: {error.strerror or error}",
            fix="out=<a folder that can be written>",
        ) from error


def page_section(title: str, panels: Sequence[Panel], tables: Sequence[PageTable] = ()) -> dict[str, Any]:
    """Return a part of the page as its template takes it."""
    with styled():
        figures = [PageFigure.of(panel.figure(), panel.name, panel.title, panel.caption) for panel in panels]
    return {"title": title, "figures": figures, "tables": tables}


def _load_statistics(criterion: Criterion, statistics: Mapping[str, Any]) -> None:
    """Bring back what losses have counted so far, such as densities; a checkpoint from elsewhere may have none."""
    try:
        criterion.load_state_dict(statistics)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the losses' statistics in the checkpoint do not fit the losses that its configuration describes",
            why=str(error).splitlines()[0],
            fix="choose the losses: loss/classification=... loss/box=...",
        ) from error


def _check_classes(class_names: Sequence[str], dataset: DetectionDataset) -> None:
    if list(class_names) != list(dataset.class_names):
        raise ConfigError(
            f"the checkpoint was trained on other classes than {dataset.annotations.source} has",
            why=f"it has {first_five(list(class_names))}; the file {first_five(list(dataset.class_names))}. "
            "Losses compare anchors with objects, so classes and their order must be the same.",
            fix="choose data with the classes of the training",
        )
