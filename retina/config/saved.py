"""Reading the configuration that a checkpoint carries: data from a stranger, of which only listed parts are built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import yaml

from retina.config.former_names import renamed
from retina.config.values import check_nodes, check_scalars
from retina.errors import CheckpointError, first_five
from retina.settings import RunSettings

# The one `_target_` that each section may have, by its exact name. A prefix would not do: a name that walks through a
# module's imports (retina.models.retinanet.torch.hub.load) reaches any function.
ALLOWED_TARGETS: dict[str, tuple[str, ...]] = {
    "model": ("retina.models.retinanet.build_retinanet",),
    "model.backbone": ("retina.models.backbones.resnet.ResNet",),
    "anchors": ("retina.detection.assign.Assigner",),
    "postprocess": ("retina.detection.postprocess.PostProcess",),
    "dataset": (
        "retina.data.folders.CocoFolder",
        "retina.data.shapes.ShapesFolder",
        "retina.formats.voc.VocFolder",
        "retina.formats.yolo.YoloFolder",
        "retina.formats.csv_table.CsvFolder",
    ),
}

# What a loss may be. A sum of box losses has terms, each of them another one of the list.
_LOSSES = "retina.detection.losses"
_SUM = f"{_LOSSES}.weighted.BoxLossSum"
LOSS_TARGETS: dict[str, tuple[str, ...]] = {
    "loss.classification": tuple(
        f"{_LOSSES}.{name}"
        for name in (
            "classification.FocalLoss",
            "classification.BalancedCrossEntropyLoss",
            "classification.CrossEntropyLoss",
            "self_normalised.FocalDiceLoss",
            "self_normalised.GHMCLoss",
            "focal_family.QualityFocalLoss",
            "focal_family.VarifocalLoss",
            "focal_family.PenaltyReducedFocalLoss",
            "focal_family.SoftmaxFocalLoss",
        )
    ),
    "loss.box": (
        _SUM,
        *(f"{_LOSSES}.box.{name}Loss" for name in ("L1", "SmoothL1", "Huber", "MSE", "BalancedL1", "FocalL1")),
        *(f"{_LOSSES}.overlap.{name}IoULoss" for name in ("", "Alpha", "G", "D", "C", "E", "FocalE", "S", "W")),
        *(f"{_LOSSES}.running.{name}Loss" for name in ("WIoUv3", "GHMR")),
    ),
}

# A configuration of ours is 4 kB; YAML of some size can unfold into gigabytes.
_MAX_CHARACTERS = 100_000
_FIX = "use a checkpoint that this program wrote, or retrain the model with a target that is listed"


def model_config_from(text: str) -> dict[str, Any]:
    """Return the sections ``model``, ``anchors``, ``postprocess``, ``image`` and ``dataset`` as plain values.

    Safe to build: each section has the one target that is listed for it, nothing else names code, and the model reads
    no file and no network: ``model.weights`` is None and ``model.norm`` is what ``auto`` meant in training. A data set
    that is not listed is reduced to its name.

    Raises:
        CheckpointError: anything in these sections is not as it has to be; nothing was built.
    """
    tree = _read(text)
    sections = {name: _section(tree, name) for name in ("model", "anchors", "postprocess")}
    image, dataset = tree.get("image"), tree.get("dataset")
    if not isinstance(image, dict) or not isinstance(dataset, dict):
        raise _unusable("it has no section image or no section dataset")
    if dataset.get("_target_") in ALLOWED_TARGETS["dataset"]:
        sections["dataset"] = _section(tree, "dataset")
    else:
        sections["dataset"] = {"name": dataset.get("name")}
    problems = _unsafe("image", image, ())
    problems += [mistake.what for mistake in check_scalars({"image": image}, RunSettings)]
    if not isinstance(dataset.get("name"), str):
        problems.append("dataset.name is not a text")
    scores = [sections[name].get("scores", "sigmoid") for name in ("model", "postprocess")]
    if scores[0] != scores[1]:
        problems.append(f"model.scores is {scores[0]!r} and postprocess.scores {scores[1]!r}")
    if problems:
        raise _unusable(first_five(problems))
    for name, node in sections.items():
        if "_target_" in node:
            listed_target(name, node["_target_"])
    listed_target("model.backbone", sections["model"]["backbone"]["_target_"])
    return {**sections, "model": _without_weights(sections["model"]), "image": image}


def loss_config_from(text: str) -> dict[str, dict[str, Any]]:
    """Return the sections ``classification`` and ``box`` of ``loss`` as plain values, safe to build.

    Raises:
        CheckpointError: a loss is not listed, or anything else is not as it has to be; nothing was built.
    """
    loss = _read(text).get("loss")
    if not isinstance(loss, dict):
        raise _unusable("it has no section loss")
    nodes: dict[str, dict[str, Any]] = {}
    for name in ("classification", "box"):
        section, node = f"loss.{name}", loss.get(name)
        if not isinstance(node, dict):
            raise _unusable(f"it has no section {section}")
        terms = node.get("terms", {}) if node.get("_target_") == _SUM else {}
        if not isinstance(terms, dict):
            raise _unusable(f"{section}.terms is not a mapping")
        nodes |= {section: {key: value for key, value in node.items() if value is not terms}}
        nodes |= {f"{section}.terms.{term}": inner for term, inner in terms.items()}
    problems = []
    for path, node in nodes.items():
        targets = LOSS_TARGETS[".".join(path.split(".")[:2])]
        problems += _unsafe(path, node, targets) if isinstance(node, dict) else [f"{path} is not a mapping"]
    if not problems:
        problems = [mistake.what for mistake in check_nodes({"loss": loss})]
    if problems:
        raise _unusable(first_five(problems))
    for path, node in nodes.items():
        listed_target(".".join(path.split(".")[:2]), node["_target_"])
    return {name: loss[name] for name in ("classification", "box")}


def listed_target(section: str, name: str) -> Any:
    """Import and return the class or function called ``name``, which ``section`` must list.

    Raises:
        CheckpointError: it is not listed, or the name leads to something that is defined elsewhere.
    """
    if name not in {**ALLOWED_TARGETS, **LOSS_TARGETS}.get(section, ()):
        raise _unusable(f"{section}._target_ is {name!r}, which is not listed")
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    if (getattr(found, "__module__", None), getattr(found, "__qualname__", None)) != (module, attribute):
        raise _unusable(f"{section}._target_ is {name!r}, which is not defined there")
    return found


def _read(text: str) -> dict[str, Any]:
    if len(text) > _MAX_CHARACTERS:
        raise _unusable(f"it has {len(text)} characters")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise _unusable("it has YAML aliases, which can unfold without end")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise _unusable("it is not YAML") from error
    if not isinstance(tree, dict):
        raise _unusable("it is not a mapping")
    return renamed(tree)


def _section(tree: Mapping[str, Any], section: str) -> dict[str, Any]:
    node = tree.get(section)
    if not isinstance(node, dict):
        raise _unusable(f"it has no section {section}")
    problems = _unsafe(section, node, ALLOWED_TARGETS[section])
    if not problems:
        # Only now are targets looked at, and still only their source.
        problems = [mistake.what for mistake in check_nodes({section: node})]
    if problems:
        raise _unusable(first_five(problems))
    return node


def _unsafe(path: str, value: Any, targets: tuple[str, ...], *, is_root: bool = True) -> list[str]:
    """Return what is not plain in ``value``; only its root may have a ``_target_``, one of ``targets``."""
    if isinstance(value, dict):
        problems = []
        if is_root and targets and value.get("_target_") not in targets:
            problems.append(f"{path}._target_ is {value.get('_target_')!r}, which is not listed")
        for name, item in value.items():
            inner = f"{path}.{name}"
            if not isinstance(name, str):
                problems.append(f"{inner} is not a name")
            elif name.startswith("_"):
                if not (is_root and targets and name == "_target_"):
                    problems.append(f"{inner} is not allowed")
            else:
                problems += _unsafe(inner, item, ALLOWED_TARGETS.get(inner, ()), is_root=inner in ALLOWED_TARGETS)
        return problems
    if isinstance(value, list):
        return [problem for item in value for problem in _unsafe(path, item, targets, is_root=False)]
    if isinstance(value, str) and ("${" in value or value == "???"):
        return [f"{path} is {value!r}, which is not resolved"]
    if value is not None and not isinstance(value, bool | int | float | str):
        return [f"{path} is a {type(value).__name__}"]
    return []


def _without_weights(model: dict[str, Any]) -> dict[str, Any]:
    """Return ``model`` without the pretrained weights that its training began with: the checkpoint's follow."""
    from retina.models.norms import resolve_norm

    norm = resolve_norm(str(model.get("norm", "auto")), model.get("weights", "imagenet"))
    return {**model, "norm": norm, "weights": None}


def _unusable(reason: str) -> CheckpointError:
    return CheckpointError(f"the configuration in the checkpoint cannot be used: {reason}", fix=_FIX)
