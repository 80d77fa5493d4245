"""Checking a whole configuration: types from signatures, ranges, unset variables, what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retina.config.compose import first_line
from retina.config.kinds import Kind, kind_of, shown, violations
from retina.config.overrides import Mistake, nearest
from retina.config.schema import ALSO_FEEDS, BUILDER_TAKES, FILLED_IN, TAKEN_BY, rule_broken, rule_met
from retina.config.signatures import Signature, defined_names, field_kind, read_signature

UNKNOWN = "\0unknown"  # stands for a value that could not be read; it was told already

_ENVIRONMENT = re.compile(r"oc\.env:\s*([A-Za-z_]\w*)")
# Paths that a command reads; whatever else is a path is looked for where it is opened.
_MUST_EXIST = ("ckpt", "source", "detections", "annotations")


def to_plain(config: DictConfig | ListConfig) -> tuple[Any, list[Mistake]]:
    """Resolve every value of ``config``; those that cannot be resolved become ``UNKNOWN`` and a mistake each."""
    mistakes: list[Mistake] = []
    return _plain(config, "", mistakes), mistakes


def check_scalars(tree: Mapping[str, Any], settings: type) -> list[Mistake]:
    """Check the scalars of a run against the dataclass ``settings``, whose dataclass fields are sections."""
    return list(_check_dataclass("", tree, settings, ignore=frozenset(tree) - {f.name for f in fields(settings)}))


def check_nodes(tree: Mapping[str, Any], prefix: str = "") -> list[Mistake]:
    """Check every ``_target_`` node of ``tree`` against the signature of its target, and every range."""
    mistakes = []
    for path, node in _nodes(tree, prefix):
        mistakes += list(_check_node(path, node))
    for path, value in _leaves(tree, prefix):
        if value != UNKNOWN and (sentence := rule_broken(path, value)):
            mistakes.append(Mistake(sentence))
    return _once_a_path(mistakes)


def check_against(tree: Mapping[str, Any], reference: Mapping[str, Any]) -> list[Mistake]:
    """Check that what is a number or a truth value in ``reference`` still is one: for what no signature tells."""
    before = dict(_leaves(reference, ""))
    mistakes = []
    for path, value in _leaves(tree, ""):
        old = before.get(path)
        if value in (None, UNKNOWN) or old in (None, UNKNOWN) or isinstance(old, str) or rule_met(path, value):
            continue
        wanted = "true or false" if isinstance(old, bool) else "a list" if isinstance(old, list) else "a number"
        if isinstance(value, str) or isinstance(value, bool) != isinstance(old, bool):
            mistakes.append(Mistake(f"{path} must be {wanted}, got {shown(value)}"))
    return mistakes


def check_paths(tree: Mapping[str, Any]) -> list[Mistake]:
    """Check that the files and folders that the command reads are there."""
    mistakes = []
    for name in _MUST_EXIST:
        value = tree.get(name)
        if isinstance(value, str) and value != UNKNOWN and not Path(value).exists():
            mistakes.append(Mistake(f"{name}: no such file or folder: {value}", f"pass {name}=<an existing path>"))
    return mistakes


def check_dataset(dataset: Any, splits: tuple[str, ...]) -> list[Mistake]:
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


def _plain(config: Any, path: str, mistakes: list[Mistake]) -> Any:
    if isinstance(config, DictConfig):
        names: list[Any] = list(config.keys())
    else:
        names = list(range(len(config)))
    values = {}
    for name in names:
        inner = f"{path}.{name}".lstrip(".")
        try:
            if OmegaConf.is_missing(config, name):
                mistakes.append(Mistake(f"{inner} must be given", f"add {inner}=<value>"))
                value: Any = UNKNOWN
            else:
                value = config[name]
        except OmegaConfBaseException as error:
            mistakes.append(_unresolved(inner, config, name, error))
            value = UNKNOWN
        values[name] = _plain(value, inner, mistakes) if OmegaConf.is_config(value) else value
    return values if isinstance(config, DictConfig) else list(values.values())


def _unresolved(path: str, config: Any, name: Any, error: OmegaConfBaseException) -> Mistake:
    written = OmegaConf.to_container(config, resolve=False)[name]  # type: ignore[index]
    if variable := _ENVIRONMENT.search(str(written)):
        return Mistake(
            f"{path} is {written}, but the environment variable {variable[1]} is not set",
            f"export {variable[1]}=<value>, or {path}=<value>",
        )
    return Mistake(f"{path} is {written}, which cannot be resolved: {first_line(error)}")


def _check_dataclass(
    section: str, tree: Mapping[str, Any], settings: type, *, ignore: frozenset[str] = frozenset()
) -> Iterator[Mistake]:
    """Yield what is wrong in one section, and in the sections inside it."""
    hints = get_type_hints(settings)
    known = {field.name: field for field in fields(settings)}
    good = {}
    for name, value in tree.items():
        path = f"{section}.{name}".lstrip(".")
        if name not in known:
            if name not in ignore:
                hint = nearest(path, [f"{section}.{other}".lstrip(".") for other in known])
                yield Mistake(f"there is no setting {path}", hint)
        elif is_dataclass(hints[name]):
            if isinstance(value, Mapping):
                yield from _check_dataclass(path, value, hints[name])
            else:
                yield Mistake(f"{path} must be a section, got {shown(value)}")
        elif value != UNKNOWN:
            found = list(violations(path, value, field_kind(settings, str(known[name].type))))
            yield from (Mistake(sentence) for _, sentence in found)
            if not found:
                good[name] = value
    yield from _construct(section, good, settings, known)


def _construct(section: str, values: dict[str, Any], settings: type, known: Mapping[str, Field]) -> Iterator[Mistake]:
    """Build the dataclass for its own checks; it stops at its first complaint, so mend that and build again."""
    values = dict(values)
    while True:
        try:
            settings(**values)
        except ValueError as error:
            yield Mistake(str(error))
            named = [
                name
                for name in values
                if re.search(rf"(?<![\w.]){re.escape(f'{section}.{name}'.lstrip('.'))}\b", str(error))
                and values[name] != known[name].default
                and known[name].default is not MISSING
            ]
            if not named:
                return
            for name in named:
                del values[name]
        else:
            return


def _nodes(tree: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(tree, Mapping):
        if "_target_" in tree or path in TAKEN_BY:
            yield path, tree
        for name, value in tree.items():
            yield from _nodes(value, f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _nodes(value, f"{path}.{index}")


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value with its path; a list of plain values is one value."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _leaves(value, f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list) and any(isinstance(value, Mapping) for value in tree):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, tree


def _check_node(path: str, node: Mapping[str, Any]) -> Iterator[Mistake]:
    target = node.get("_target_") or TAKEN_BY[path]
    try:
        kinds, required, takes_any_name = _parameters(str(target))
    except LookupError as error:
        module, _, name = str(target).rpartition(".")
        fix = nearest(name, defined_names(module)) if module.startswith("retina") else ""
        yield Mistake(f"{path}._target_: {error}", fix)
        return
    if kinds is None:
        return
    filled = FILLED_IN.get(path, frozenset())
    kinds |= {name: kind_of(text) for name, text in BUILDER_TAKES.get(path, {}).items()}
    for name, value in node.items():
        if name.startswith("_") or value == UNKNOWN or (isinstance(value, Mapping) and "_target_" in value):
            continue
        inner = f"{path}.{name}"
        if name in filled or (name not in kinds and not takes_any_name):
            hint = nearest(inner, [f"{path}.{other}" for other in kinds if other not in filled])
            yield Mistake(f"there is no setting {inner}: {target} does not take it", hint)
        elif name in kinds:
            yield from (Mistake(sentence) for _, sentence in violations(inner, value, kinds[name]))
    for name in sorted(required - filled - set(node)):
        yield Mistake(f"{path}.{name} must be given: {target} needs it", f"add +{path}.{name}=<value>")


def _parameters(target: str) -> tuple[dict[str, Kind] | None, frozenset[str], bool]:
    signatures = [read_signature(name) for name in (target, ALSO_FEEDS.get(target)) if name]
    known: list[Signature] = [signature for signature in signatures if signature is not None]
    if not known:
        return None, frozenset(), True
    parameters = {name: item for signature in known for name, item in signature.parameters.items()}
    required = frozenset(name for name, item in parameters.items() if item.required)
    return (
        {name: item.kind for name, item in parameters.items()},
        required,
        any(signature.takes_any_name for signature in known),
    )


def _once_a_path(mistakes: list[Mistake]) -> list[Mistake]:
    """Keep the first mistake of each setting: a wrong type is not told again as a wrong range."""
    by_path: dict[str, Mistake] = {}
    for mistake in mistakes:
        by_path.setdefault(mistake.what.split(" must be ")[0], mistake)
    return list(by_path.values())
