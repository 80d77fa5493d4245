"""Every mistake of a command in one message, told before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retina.config.compose import CONFIGS, apply_value, compose_config, group_options, parse_override
from retina.config.overrides import (
    Mistake,
    check_choices,
    check_keys,
    expand_sweeps,
    parse_all,
    split_groups,
)
from retina.config.schema import TRAIN_SECTIONS
from retina.config.values import check_against, check_dataset, check_nodes, check_paths, check_scalars, to_plain
from retina.errors import ConfigError

_HELP = "--help lists groups and settings, --cfg job shows the composed configuration"


def check_command(
    primary: str,
    overrides: Sequence[str],
    *,
    settings: type | None = None,
    multirun: bool = False,
    folders: Sequence[Path] = (CONFIGS,),
) -> None:
    """Check what was typed after ``python <primary>.py``.

    Args:
        settings: the dataclass of the command's scalars.
        multirun: several values of one setting are a sweep (``-m``).
        folders: where the configuration files stand, the command's own first.

    Raises:
        ConfigError: with every mistake of the command.
    """
    parsed, mistakes = parse_all(overrides)
    jobs, more = expand_sweeps(parsed, multirun=multirun)
    mistakes += more
    for job in jobs:
        mistakes += _check_job(primary, job, settings=settings, folders=folders)
    raise_mistakes(mistakes)


def check_config(config: DictConfig, reference: DictConfig, *, primary: str, settings: type | None) -> list[Mistake]:
    """Return the mistakes of a composed configuration; ``reference`` is the same before values were typed."""
    tree, mistakes = to_plain(config)
    before, _ = to_plain(reference)
    if settings is not None:
        mistakes += check_scalars(tree, settings)
    mistakes += check_nodes(tree)
    told = {mistake.what.split(" must be ")[0] for mistake in mistakes}
    mistakes += [mistake for mistake in check_against(tree, before) if mistake.what.split(" must be ")[0] not in told]
    mistakes += check_paths(tree)
    mistakes += check_dataset(tree.get("dataset"), _splits(primary, tree))
    if primary == "train":
        missing = [section for section in TRAIN_SECTIONS if section not in tree]
        mistakes += [Mistake(f"the recipe says nothing about {section}") for section in missing]
    return mistakes


def raise_mistakes(mistakes: Iterable[Mistake]) -> None:
    """Raise one ConfigError that tells all ``mistakes``; return where there are none."""
    told = list(dict.fromkeys(mistakes))
    if not told:
        return
    if len(told) == 1:
        raise ConfigError(told[0].what, why=told[0].why, fix=told[0].fix or _HELP)
    lines = [f"  {mistake.what}" + (f"; {mistake.fix}" if mistake.fix else "") for mistake in told[:5]]
    if len(told) > 5:
        lines.append(f"  ... ({len(told)} in all)")
    raise ConfigError(
        "\n".join([f"{len(told)} mistakes in the configuration:", *lines]),
        why="everything is checked before anything is started.",
        fix=_HELP,
    )


def _check_job(primary: str, texts: Sequence[str], *, settings: type | None, folders: Sequence[Path]) -> list[Mistake]:
    options = group_options(folders)
    choices, values = split_groups([parse_override(text) for text in texts], options)
    good_choices, mistakes = check_choices(primary, choices, folders)
    try:
        reference = compose_config(primary, good_choices, folders=folders).config
    except ConfigError as error:
        return [*mistakes, Mistake(error.what, error.fix)]
    plain: Any = OmegaConf.to_container(reference, resolve=False)
    good_values, more = check_keys(values, plain, options)
    mistakes += more
    config = deepcopy(reference)
    for override in good_values:
        apply_value(config, override)
    return mistakes + check_config(config, reference, primary=primary, settings=settings)


def _splits(primary: str, tree: dict[str, Any]) -> tuple[str, ...]:
    if primary == "evaluate":
        return (str(tree.get("split") or "val"),)
    return ("train", "val") if primary == "train" else ()
