"""What ``tools/loss_lab.py`` does: pictures of the losses, and of what they do to a trained model on data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retina.commands.building import Machine, build_assigner, build_criterion, build_node
from retina.commands.loading import open_split
from retina.commands.looking import Amount, build_loss_lab, chosen_images
from retina.commands.runs import build_folder, load_model, load_trained
from retina.config.compose import CONFIGS, group_options
from retina.config.saved import loss_config_from, model_config_from
from retina.data.dataset import DetectionDataset
from retina.data.loader import suggested_workers
from retina.detection.criterion import Criterion
from retina.drawing.figures import to_svg
from retina.errors import CheckpointError, ConfigError, RetinaError, first_five
from retina.files import write_text_atomically
from retina.lab.collection import LossFamily, box_collection, class_collection
from retina.lab.findings import Findings
from retina.lab.page import Drawn, Section, as_file, write_page
from retina.lab.pictures import Picture, curve_pictures, finding_pictures
from retina.lab.tables import finding_tables
from retina.settings import ImageSettings
from retina.training.checkpoint import resolve_checkpoint

PARTS = ("classification", "box")
# Stands beside a loss that is looked at alone.
_BESIDE = {
    "classification": {"_target_": "retina.detection.losses.classification.FocalLoss"},
    "box": {"_target_": "retina.detection.losses.box.L1Loss"},
}
PAGE, NUMBERS = "loss_lab.html", "loss_lab.json"


def show_losses(config: DictConfig) -> None:
    """Write pictures of every loss, with ``config.ckpt`` also of that model's losses on data, and one page of all."""
    chosen = {part: node for part in PARTS if (node := (config.get("loss") or {}).get(part)) is not None}
    if chosen and config.ckpt is None:
        raise ConfigError(
            f"loss/{next(iter(chosen))} was chosen without a checkpoint",
            why="it says through which loss a trained model is looked at; without one every loss is drawn.",
            fix="leave it out, or add ckpt=<run directory>",
        )
    sections, numbers, facts = [], {}, {"losses": "as configs/loss sets them"}
    out = Path(config.out or "loss_lab")
    if config.ckpt is not None:
        findings, facts, own_out = look_at_checkpoint(config, chosen)
        out = Path(config.out or own_out)
        numbers["findings"] = plain = findings.as_plain()
        sections.append(_draw("A trained model on data", finding_pictures(plain), tables=finding_tables(plain)))
    print("drawing the losses", flush=True)
    classes, boxes = class_collection(families("classification")), box_collection(families("box"))
    numbers |= {"classification_losses": classes, "box_losses": boxes}
    sections.append(_draw("The losses themselves", curve_pictures(classes, boxes)))
    write_everything(out, facts, sections, {"facts": facts, **numbers})
    number = sum(len(section.pictures) for section in sections)
    print(f"written to {out}: {PAGE} with {number} pictures, each as .svg too, and their numbers in {NUMBERS}")


def families(part: str) -> list[LossFamily]:
    """Return every loss of ``configs/loss/<part>``, as its file sets it."""
    found = []
    for option in group_options()[f"loss/{part}"]:
        node: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "loss" / part / f"{option}.yaml"))
        settings = {name: value for name, value in node.items() if name != "_target_"}
        found.append(LossFamily(option, settings, partial(_build, part, node)))
    return found


def look_at_checkpoint(config: DictConfig, chosen: Mapping[str, Any]) -> tuple[Findings, dict[str, str], Path]:
    """Return what the checkpoint's losses look like, facts to show beside it, and where its pictures belong."""
    machine = Machine.resolve(config.device, config.precision, section="")
    path = resolve_checkpoint(config.ckpt)
    state = load_trained(path)
    saved = model_config_from(str(state["config"]))
    criterion, about = rebuild_criterion(state, saved, chosen)
    criterion = criterion.to(machine.device)
    folder = build_folder(config, saved)
    dataset = open_split(folder, config.split)
    _check_classes(state["class_names"], dataset)
    center_heat = criterion.classification.needs_heat
    assigner = build_assigner(saved["anchors"], center_heat=center_heat)
    workers = suggested_workers(machine.device.type, 1) if config.workers is None else config.workers
    lab = build_loss_lab(
        dataset,
        image=ImageSettings(**saved["image"]),
        assigner=assigner,
        criterion=criterion,
        postprocess=build_node(saved["postprocess"]),
        machine=machine,
        amount=Amount(config.max_images, config.batch_size, workers),
    )
    number = len(chosen_images(dataset, config.max_images))
    facts = {
        "checkpoint": str(path),
        "data": f"{folder.name} {config.split}, {number} of {len(dataset)} images",
        **about,
    }
    print("\n".join(f"{name:<21}{value}" for name, value in facts.items()), flush=True)
    model = load_model(saved, state, assigner.anchors.num_per_cell, machine)
    findings = replace(lab, score_threshold=config.score_threshold)(model)
    owner = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    own = folder.name == saved["dataset"]["name"] and config.split == "val"
    return findings, facts, owner / ("loss_lab" if own else f"loss_lab-{folder.name}-{config.split}")


def rebuild_criterion(
    state: Mapping[str, Any], saved: Mapping[str, Any], chosen: Mapping[str, Any]
) -> tuple[Criterion, dict[str, str]]:
    """Return the losses that a checkpoint was trained with, or those ``chosen`` instead, and which they are.

    Where the checkpoint's are not rebuilt (a class of the user's own), the standard ones take their place and the facts
    say so: only listed classes are built of a stranger's configuration.

    Raises:
        ConfigError: the loss learns other scores than the network was trained for.
    """
    try:
        own, reason = loss_config_from(str(state["config"])), ""
    except CheckpointError as error:
        own, reason = dict(_BESIDE), f" (the checkpoint's own is not rebuilt: {error.what.partition(': ')[2]})"
    nodes = {**own, **chosen}
    criterion = build_criterion(OmegaConf.create({"loss": nodes}))
    scores, learned = criterion.classification.scores, saved["model"].get("scores", "sigmoid")
    if scores != learned:
        raise ConfigError(
            f"the checkpoint has learned {learned} scores, and the classification loss is for {scores} scores",
            why="its logits would be read as something else.",
            fix="leave loss/classification out" if "classification" in chosen else "choose loss/classification=...",
        )
    if not chosen and not reason:
        _load_statistics(criterion, state)
    about = {}
    for part in PARTS:
        where = "chosen now" if part in chosen else f"as in training{reason}" if not reason else f"standard{reason}"
        about[f"{part} loss"] = f"{getattr(criterion, part)}".replace("\n", " ") + f", {where}"
    return criterion, about


def write_everything(
    out: Path, facts: Mapping[str, str], sections: Sequence[Section], numbers: Mapping[str, Any]
) -> None:
    """Write the page, each picture and the numbers into ``out``, which is made.

    Raises:
        RetinaError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for section in sections:
            for picture in section.pictures:
                write_text_atomically(out / f"{picture.name}.svg", as_file(picture.svg))
        write_text_atomically(out / NUMBERS, json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        write_text_atomically(out / PAGE, write_page("Loss lab", facts, sections))
    except OSError as error:
        raise RetinaError(
            f"the pictures cannot be written: {error.filename or out}: {error.strerror or error}",
            fix="out=<a folder that can be written>",
        ) from error


def _draw(title: str, pictures: Sequence[Picture], tables: Sequence[Any] = ()) -> Section:
    drawn = [Drawn(each.name, each.title, each.caption, to_svg(each.draw(), name=each.name)) for each in pictures]
    return Section(title, drawn, tables)


def _build(part: str, node: Mapping[str, Any], **changes: Any) -> Any:
    nodes = {**_BESIDE, part: {**node, **changes}}
    return getattr(build_criterion(OmegaConf.create({"loss": nodes})), part)


def _load_statistics(criterion: Criterion, state: Mapping[str, Any]) -> None:
    """Bring back what losses have counted so far, such as densities; a checkpoint from elsewhere may have none."""
    try:
        criterion.load_state_dict(state.get("criterion") or {})
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
