"""Checking a composed configuration before anything heavy is imported: types and ranges from signatures, paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retina.config.allowed import ANY, Parameter, Signature, shown, violations
from retina.config.compose import UNKNOWN
from retina.config.former_names import moved_setting
from retina.config.mistakes import Mistake, first_of_each_path, nearest
from retina.config.signatures import defined_names, read_signature

# The sections that a training run cannot do without.
TRAIN_SECTIONS = ("dataset", "model", "anchors", "loss", "optimizer", "schedule", "augment", "postprocess")
# Paths that a command reads; whatever else is a path is looked for where it is opened.
_MUST_EXIST = ("ckpt", "source", "detections", "annotations")


def check_tree(
    tree: Mapping[str, Any], before: Mapping[str, Any], *, name: str, settings: Signature | None
) -> list[Mistake]:
    """Return the mistakes of a composed configuration.

    Args:
        tree: the configuration as plain values.
        before: the same before values were typed.
        name: of the command.
        settings: of the command's scalars.
    """
    mistakes = [*check_settings(tree, settings), *check_nodes(tree, settings)]
    told = {mistake.path for mistake in mistakes}
    mistakes += [mistake for mistake in _check_against(tree, before, settings) if mistake.path not in told]
    for path in _MUST_EXIST:
        value = tree.get(path)
        if isinstance(value, str) and value != UNKNOWN and not Path(value).exists():
            mistakes.append(Mistake(f"{path}: no such file or folder: {value}", f"pass {path}=<an existing path>"))
    mistakes += _check_dataset(tree.get("dataset"), _splits(name, tree))
    if name == "train":
        missing = [section for section in TRAIN_SECTIONS if section not in tree]
        mistakes += [Mistake(f"the recipe says nothing about {section}") for section in missing]
    return mistakes


def check_settings(tree: Mapping[str, Any], settings: Signature | None, path: str = "") -> list[Mistake]:
    """Check the scalars of a command; what is built from ``tree`` is checked by :func:`check_nodes`."""
    mistakes: list[Mistake] = []
    known = settings.settings if settings is not None else {}
    for name, value in tree.items():
        inner = f"{path}.{name}".lstrip(".")
        parameter = known.get(name)
        if parameter is None:
            if path and not _is_built(tree) and not _is_built(value):
                mistakes.append(_no_setting(inner, path, list(known)))
        elif parameter.allowed.section is not None and isinstance(value, Mapping):
            mistakes += check_settings(value, parameter.allowed.section, inner)
        else:
            mistakes += _check_value(inner, value, parameter, tree)
    return mistakes


def check_nodes(tree: Any, settings: Signature | None = None, path: str = "") -> list[Mistake]:
    """Check every ``_target_`` node of ``tree`` against the signature of its target.

    ``settings`` says which values of a section the command keeps for itself instead of handing them to the target.
    """
    mistakes: list[Mistake] = []
    for inner, node in _nodes(tree, path):
        mistakes += _check_node(inner, node, _kept(settings, inner))
    return first_of_each_path(mistakes)


def _check_node(path: str, node: Mapping[str, Any], kept: Mapping[str, Parameter]) -> Iterator[Mistake]:
    target = str(node["_target_"])
    try:
        signature = read_signature(target)
    except LookupError as error:
        module, _, name = target.rpartition(".")
        fix = nearest(name, defined_names(module)) if module.startswith("retina") else ""
        yield Mistake(f"{path}._target_: {error}", fix, path=f"{path}._target_")
        return
    if signature is None:
        return
    known = signature.settings
    for name, value in node.items():
        inner = f"{path}.{name}"
        if name.startswith("_") or name in kept or value == UNKNOWN or _is_built(value):
            continue
        if name in known:
            yield from _check_value(inner, value, known[name], node)
        elif name in signature.parameters or not signature.takes_any_name:
            present = moved_setting(inner)
            hint = nearest(inner, [present] if present else [f"{path}.{other}" for other in [*known, *kept]])
            yield Mistake(f"there is no setting {inner}: {target} does not take it", hint, path=inner)
    for name, parameter in sorted(known.items()):
        if parameter.required and name not in node:
            yield Mistake(f"{path}.{name} must be given: {target} needs it", f"add +{path}.{name}=<value>")


def _check_value(path: str, value: Any, parameter: Parameter, beside: Mapping[str, Any]) -> Iterator[Mistake]:
    if value != UNKNOWN:
        for inner, sentence in violations(path, value, parameter.allowed, beside):
            yield Mistake(sentence, path=inner)


def _no_setting(path: str, section: str, known: list[str]) -> Mistake:
    return Mistake(f"there is no setting {path}", nearest(path, [f"{section}.{name}" for name in known]), path=path)


def _kept(settings: Signature | None, path: str) -> Mapping[str, Parameter]:
    for name in path.split("."):
        parameter = settings.settings.get(name) if settings is not None else None
        settings = parameter.allowed.section if parameter is not None else None
    return settings.settings if settings is not None else {}


def _check_against(
    tree: Mapping[str, Any], reference: Mapping[str, Any], settings: Signature | None
) -> Iterator[Mistake]:
    """Check that what is a number or a truth value in ``reference`` still is one: for what no signature tells."""
    before = dict(leaves(reference))
    for path, value in leaves(tree):
        old = before.get(path)
        if value in (None, UNKNOWN) or old in (None, UNKNOWN) or isinstance(old, str):
            continue
        wanted = "true or false" if isinstance(old, bool) else "a list" if isinstance(old, list) else "a number"
        differs = isinstance(value, str) or isinstance(value, bool) != isinstance(old, bool)
        if differs and not _is_understood(tree, path, settings):
            yield Mistake(f"{path} must be {wanted}, got {shown(value)}", path=path)


def _is_understood(tree: Any, path: str, settings: Signature | None) -> bool:
    """Return whether the command's settings, or the innermost target around it, say what the value may be."""
    known: Mapping[str, Parameter] = settings.settings if settings is not None else {}
    parameter = None
    for name in path.split("."):
        if _is_built(tree):
            known = {**_settings_of(str(tree["_target_"])), **known}
        parameter = known.get(name) or (parameter if not _is_built(tree) else None)
        section = parameter.allowed.section if parameter is not None else None
        known = section.settings if section is not None else {}
        tree = tree[int(name)] if isinstance(tree, list) else tree[name]
    return parameter is not None and parameter.allowed is not ANY


def _settings_of(target: str) -> Mapping[str, Parameter]:
    try:
        signature = read_signature(target)
    except LookupError:
        return {}
    return signature.settings if signature is not None else {}


def _check_dataset(dataset: Any, splits: tuple[str, ...]) -> list[Mistake]:
    """Check that the paths of ``splits`` are given, as ``dataset=custom`` needs."""
    if not isinstance(dataset, Mapping) or "_target_" not in dataset:
        return []
    missing = []
    for split in splits:
        paths = dataset.get(split)
        if isinstance(paths, Mapping):
            missing += [f"dataset.{split}.{name}" for name in paths if paths[name] is None]
    if not missing:
        return []
    fix = "add " + " ".join(f"{path}=<path>" for path in missing)
    return [Mistake(f"dataset={dataset.get('name')} needs {', '.join(missing)}", fix)]


def _splits(name: str, tree: Mapping[str, Any]) -> tuple[str, ...]:
    if name == "evaluate":
        return (str(tree.get("split") or "val"),)
    return ("train", "val") if name == "train" else ()


def _is_built(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _nodes(tree: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(tree, Mapping):
        if "_target_" in tree:
            yield path, tree
        for name, value in tree.items():
            yield from _nodes(value, f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _nodes(value, f"{path}.{index}")


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every value; a list of plain values is one value."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from leaves(value, f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list) and any(isinstance(value, Mapping) for value in tree):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}.{index}")
    else:
        yield path, tree
