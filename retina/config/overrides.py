"""Checking what was typed: its form, the groups and options it names, and the settings it names."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from retina.config.compose import compose_config, group_options, parse_override
from retina.config.former_names import present_setting
from retina.config.mistakes import Mistake, nearest
from retina.errors import ConfigError

# Enough for any sweep by hand; larger ones are checked as far as this, and by Hydra as they run.
_MAX_COMBINATIONS = 64


def parse_all(texts: Sequence[str]) -> tuple[list[Override], list[Mistake]]:
    """Read every ``key=value``; those that cannot be read are mistakes."""
    overrides, mistakes = [], []
    options = group_options()
    for text in texts:
        try:
            overrides.append(parse_override(by_present_name(text)))
        except ConfigError as error:
            mistakes.append(_unreadable(text, error, options))
    return overrides, mistakes


def by_present_name(text: str) -> str:
    """Return ``text`` with the present name of its setting, where it is one of a former version."""
    key, equals, value = text.partition("=")
    path = key.lstrip("+~")
    return f"{key[: len(key) - len(path)]}{present_setting(path)}{equals}{value}"


def expand_sweeps(overrides: Sequence[Override], *, multirun: bool) -> tuple[list[list[Override]], list[Mistake]]:
    """Return the overrides of every job of a sweep, and mistakes where several values are given without ``-m``."""
    values: list[list[Override]] = []
    mistakes = []
    for override in overrides:
        text = override.input_line or ""
        if not override.is_sweep_override():
            values.append([override])
        elif multirun and override.is_discrete_sweep() and not _is_glob(text):
            key = override.get_key_element()
            values.append([parse_override(f"{key}={value}") for value in override.sweep_string_iterator()])
        elif not multirun:
            mistakes.append(
                Mistake(f"{text} is several values", f"add -m to run them all, or write '{_as_list(text)}'")
            )
    return [list(job) for job in itertools.islice(itertools.product(*values), _MAX_COMBINATIONS)], mistakes


def split_groups(
    overrides: Sequence[Override], options: Mapping[str, Sequence[str]]
) -> tuple[list[Override], list[Override]]:
    """Return the choices of groups, and the values of settings."""
    choices = [override for override in overrides if _is_choice(override, options)]
    return choices, [override for override in overrides if override not in choices]


def lacks_recipe(choices: Sequence[Override], options: Mapping[str, Sequence[str]]) -> bool:
    """Return whether the chosen data set has no recipe of its own and none is chosen: it takes that of custom data."""
    chosen = {choice.key_or_group: choice.value() for choice in choices}
    return "recipe" not in chosen and "dataset" in chosen and chosen["dataset"] not in options.get("recipe", ())


def check_choices(
    primary: str, choices: Sequence[Override], folders: Sequence[Path]
) -> tuple[list[str], list[Mistake]]:
    """Return the choices that can be composed, and the mistakes of the others."""
    options = group_options(folders)
    defaults = compose_config(primary, folders=folders).choices if choices else {}
    good, mistakes = [], []
    for override in choices:
        mistake = _wrong_choice(primary, override, options, defaults)
        if mistake is None:
            good.append(override.input_line or "")
        else:
            mistakes.append(mistake)
    return good, mistakes


def check_keys(
    values: Sequence[Override], reference: Mapping[str, Any], options: Mapping[str, Sequence[str]]
) -> tuple[list[Override], list[Mistake]]:
    """Return the overrides that name a setting of ``reference``, and the mistakes of the others."""
    good, mistakes = [], []
    for override in values:
        if override.key_or_group.startswith(("hydra.", "hydra/")):
            continue
        mistake = _wrong_key(override, reference, options)
        if mistake is None:
            good.append(override)
        else:
            mistakes.append(mistake)
    return good, mistakes


def paths_of(tree: Any, prefix: str = "") -> list[str]:
    """Return the dotted paths of every setting and section of a plain configuration, in order."""
    if isinstance(tree, Mapping):
        items = [(str(name), value) for name, value in tree.items() if not str(name).startswith("_")]
    elif isinstance(tree, list):
        items = [(str(index), value) for index, value in enumerate(tree) if isinstance(value, Mapping)]
    else:
        return []
    paths = []
    for name, value in items:
        paths.append(f"{prefix}{name}")
        paths += paths_of(value, f"{prefix}{name}.")
    return paths


def _unreadable(text: str, error: ConfigError, options: Mapping[str, Sequence[str]]) -> Mistake:
    if text.startswith("-"):
        return Mistake(f"there is no flag {text}", f"settings have no dashes: {text.lstrip('-')}=value")
    if "=" not in text:
        groups = [group for group, names in options.items() if text in names]
        example = f"{groups[0]}={text}" if groups else f"{text}=value"
        return Mistake(f"{text!r} is not of the form key=value", f"write {example}")
    key, value = text.split("=", 1)
    return Mistake(error.what, f"quote a value with spaces or any of = , {{ }} ( ): \"{key}='{value}'\"")


def _wrong_choice(
    primary: str, override: Override, options: Mapping[str, Sequence[str]], defaults: Mapping[str, str | None]
) -> Mistake | None:
    group, option = override.key_or_group, override.value()
    if group not in options:
        known = [f"{name}=" for name in options]
        return Mistake(f"there is no group {group}", nearest(f"{group}=", known) or f"groups: {', '.join(options)}")
    takes = [name for name in options if name in defaults]
    if group not in takes:
        return Mistake(f"{primary} takes no group {group}", f"it takes: {', '.join(takes) or 'none'}")
    if override.is_delete() or (option is None and defaults[group] is not None):
        return Mistake(f"{group} cannot be left out", f"choose one of {', '.join(options[group])}")
    if option is not None and option not in options[group]:
        hint = difflib.get_close_matches(str(option), options[group], n=1)
        guess = f"did you mean {group}={hint[0]}? It has" if hint else "choose one of"
        return Mistake(f"{group} has no option {option!r}", f"{guess} {', '.join(options[group])}")
    if override.is_add() or override.is_force_add():
        return Mistake(f"{override.input_line}: {group} is chosen already", f"write {group}={option}")
    return None


def _wrong_key(
    override: Override, reference: Mapping[str, Any], options: Mapping[str, Sequence[str]]
) -> Mistake | None:
    key = override.key_or_group
    exists, present = _look_up(reference, key)
    adds = override.is_add() or override.is_force_add()
    if adds and not exists and "." in key and _is_section(_look_up(reference, key.rpartition(".")[0])[1]):
        return None  # whether the section takes it is told from its signature
    if not exists:
        return Mistake(f"there is no setting {key}", _hint(key, reference, options))
    if override.is_add():
        return Mistake(f"{override.input_line}: {key} is there already", f"write {key}={override.value()}")
    if _is_section(present) and not override.is_delete() and not _is_section(override.value()):
        group = key.replace(".", "/")
        if group in options:
            return Mistake(f"{key} is a section, not a value", f"choose it with a slash: {group}={override.value()}")
        names = [f"{key}.{name}" for name in present if not str(name).startswith("_")]
        return Mistake(f"{key} is a section, not a value", f"it has {', '.join(names)}")
    return None


def _hint(key: str, reference: Mapping[str, Any], options: Mapping[str, Sequence[str]]) -> str:
    group = key.replace(".", "/")
    if group in options:
        return f"choose it with a slash: {group}=..."
    known = [*paths_of(reference), *(f"{name}=" for name in options if "/" in name)]
    return nearest(key, known) or "python train.py --cfg job shows every setting"


def _look_up(tree: Any, key: str) -> tuple[bool, Any]:
    for name in key.split("."):
        if isinstance(tree, Mapping) and name in tree:
            tree = tree[name]
        elif isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            return False, None
    return True, tree


def _is_choice(override: Override, options: Mapping[str, Sequence[str]]) -> bool:
    name = override.key_or_group
    return not name.startswith("hydra") and (name in options or "/" in name)


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_glob(text: str) -> bool:
    return "=glob(" in text


def _as_list(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}=[{value}]"
