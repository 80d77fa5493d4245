"""Reading the configuration that a checkpoint carries: data from a stranger, of which only listed parts are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from retina.config.check import check_nodes, check_settings
from retina.config.former_names import present_tree
from retina.config.sections import with_norm
from retina.config.signatures import is_one_of, read_signature
from retina.errors import CheckpointError, first_five

# The one target that a section may have, by its exact name. A prefix would not do: a name that walks through a module's
# imports (retina.models.retinanet.torch.hub.load) reaches any function.
_ONLY = {
    "model": "retina.models.retinanet.build_retinanet",
    "anchors": "retina.detection.assign.Assigner",
    "postprocess": "retina.detection.postprocess.PostProcess",
}
# Or: every class that these packages define themselves, of a kind: a base class, or a Protocol whose members it has.
_ONE_OF = {
    "model.backbone": (("retina.models.backbones",), "retina.models.backbones.backbone.Backbone"),
    "dataset": (("retina.data", "retina.formats"), "retina.data.folders.DataFolder"),
    "loss.classification": (("retina.detection.losses",), "retina.detection.losses.classification.ClassificationLoss"),
    "loss.box": (("retina.detection.losses",), "retina.detection.losses.box.BoxLoss"),
}
# A configuration of ours is 4 kB; YAML of some size can unfold into gigabytes.
_MAX_CHARACTERS = 100_000
_FIX = "use a checkpoint that this program wrote, or retrain the model with a target that is listed"


def model_config_from(text: str) -> dict[str, Any]:
    """Return the sections ``model``, ``anchors``, ``postprocess``, ``image`` and ``dataset`` as plain values.

    Safe to build: each section has a target of its own kind that the project itself defines, nothing else names code,
    and the model reads no file and no network: ``model.weights`` is None and ``model.norm`` is what ``auto`` meant in
    training. A data set of another kind is reduced to its name.

    Raises:
        CheckpointError: anything in these sections is not as it has to be; nothing was built.
    """
    tree = _read(text)
    image, dataset = tree.get("image"), tree.get("dataset")
    if not isinstance(image, dict) or not isinstance(dataset, dict):
        raise _unusable("it has no section image or no section dataset")
    # What a run of a former version does not say: it was trained on whole images of one size.
    image = {"reduced_decoding": False, "multi_scale": None, **image}
    if not isinstance(dataset.get("name"), str):
        raise _unusable("dataset.name is not a text")
    sections = {name: _section(tree, name) for name in ("model", "anchors", "postprocess")}
    if is_listed("dataset", dataset.get("_target_")):
        sections["dataset"] = _section({"dataset": _without_shares(dataset)}, "dataset")
    else:
        sections["dataset"] = {"name": dataset["name"]}
    problems = _unsafe("image", image, None)
    run = read_signature("retina.settings.RunSettings")
    problems += [mistake.what for mistake in check_settings({"image": image}, run)]
    scores = [sections[name].get("scores", "sigmoid") for name in ("model", "postprocess")]
    if scores[0] != scores[1]:
        problems.append(f"model.scores is {scores[0]!r} and postprocess.scores {scores[1]!r}")
    if problems:
        raise _unusable(first_five(problems))
    return {**sections, "model": {**with_norm(sections["model"]), "weights": None}, "image": image}


def loss_config_from(text: str) -> dict[str, Any]:
    """Return the section ``loss`` (``classification``, ``box``, ``focal_gamma``) as plain values, safe to build.

    Raises:
        CheckpointError: a loss is not listed, or anything else is not as it has to be; nothing was built.
    """
    loss = _read(text).get("loss")
    if not isinstance(loss, dict):
        raise _unusable("it has no section loss")
    loss = {name: loss.get(name) for name in ("classification", "box", "focal_gamma")}
    problems = []
    for part in ("classification", "box"):
        section, node = f"loss.{part}", loss[part]
        if not isinstance(node, dict):
            raise _unusable(f"it has no section {section}")
        terms = node.get("terms", {}) if _takes_terms(section, node.get("_target_")) else {}
        if not isinstance(terms, dict):
            raise _unusable(f"{section}.terms is not a mapping")
        problems += _unsafe(section, {key: value for key, value in node.items() if value is not terms}, section)
        for term, inner in terms.items():
            path = f"{section}.terms.{term}"
            problems += _unsafe(path, inner, section) if isinstance(inner, dict) else [f"{path} is not a mapping"]
    if not problems:
        # Only now are targets looked at, and still only their source.
        run = read_signature("retina.settings.RunSettings")
        mistakes = [*check_nodes({"loss": loss}), *check_settings({"loss": loss}, run)]
        problems = [str(mistake) for mistake in mistakes]
    if problems:
        raise _unusable(first_five(problems))
    return loss


def _takes_terms(section: str, target: Any) -> bool:
    signature = read_signature(target) if is_listed(section, target) else None
    return signature is not None and "terms" in signature.settings


def is_listed(section: str, target: Any) -> bool:
    """Return whether ``section`` may have ``target``: told from the source of the project, nothing is imported.

    A class must be defined in the very module that its name says, and be of the section's kind.
    """
    if section in _ONLY:
        return target == _ONLY[section]
    packages, kind = _ONE_OF[section]
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not any(module == package or module.startswith(f"{package}.") for package in packages):
        return False
    return is_one_of(module, name, kind)


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
    return present_tree(tree)


def _section(tree: Mapping[str, Any], section: str) -> dict[str, Any]:
    node = tree.get(section)
    if not isinstance(node, dict):
        raise _unusable(f"it has no section {section}")
    backbone = node.get("backbone") if section == "model" else None
    problems = _unsafe(section, {name: value for name, value in node.items() if value is not backbone}, section)
    if section == "model":
        is_node = isinstance(backbone, dict)
        problems += _unsafe("model.backbone", backbone, "model.backbone") if is_node else ["it has no model.backbone"]
    if not problems:
        # Only now are targets looked at, and still only their source.
        problems = [mistake.what for mistake in check_nodes({section: node})]
    if problems:
        raise _unusable(first_five(problems))
    return node


def _unsafe(path: str, value: Any, section: str | None) -> list[str]:
    """Return what is not plain in ``value``; only its root may have a ``_target_``, one that ``section`` lists."""
    if isinstance(value, dict):
        problems = []
        if section and not is_listed(section, value.get("_target_")):
            problems.append(f"{path}._target_ is {value.get('_target_')!r}, which is not listed")
        for name, item in value.items():
            inner = f"{path}.{name}"
            if not isinstance(name, str):
                problems.append(f"{inner} is not a name")
            elif name.startswith("_"):
                if not (section and name == "_target_"):
                    problems.append(f"{inner} is not allowed")
            else:
                problems += _unsafe(inner, item, None)
        return problems
    if isinstance(value, list):
        return [problem for item in value for problem in _unsafe(path, item, None)]
    if isinstance(value, str) and ("${" in value or value == "???"):
        return [f"{path} is {value!r}, which is not resolved"]
    if value is not None and not isinstance(value, bool | int | float | str):
        return [f"{path} is a {type(value).__name__}"]
    return []


def _without_shares(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return ``dataset`` without what concerns the training split alone."""
    return {name: value for name, value in dataset.items() if not name.startswith("fraction")}


def _unusable(reason: str) -> CheckpointError:
    return CheckpointError(f"the configuration in the checkpoint cannot be used: {reason}", fix=_FIX)
