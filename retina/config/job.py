"""From what was typed to the configuration of a job, composed once, with every mistake told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from retina.config.allowed import Signature
from retina.config.check import check_tree
from retina.config.compose import CONFIGS, Composed, apply_value, compose_config, group_options, to_plain
from retina.config.mistakes import Mistake, raise_mistakes
from retina.config.overrides import check_choices, check_keys, expand_sweeps, lacks_recipe, parse_all, split_groups
from retina.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Where a command's configuration comes from."""

    name: str  # of the command
    file: str  # of the primary file in the first folder, without suffix
    settings: Signature | None  # of the command's scalars
    folders: Sequence[Path] = (CONFIGS,)


@dataclass(frozen=True)
class Job:
    """A composed configuration: as Hydra has it, for showing, and as plain values, for running."""

    config: DictConfig
    tree: dict[str, Any]
    recipe: str | None = None  # the option of the group, where the command has it


def read_jobs(recipe: Recipe, overrides: Sequence[str], *, multirun: bool = False) -> list[Job]:
    """Return the job that ``overrides`` ask for; with ``multirun`` those of the sweep, as far as they are looked at.

    Raises:
        ConfigError: with every mistake of the command.
    """
    parsed, mistakes = parse_all(overrides)
    typed, more = expand_sweeps(parsed, multirun=multirun)
    mistakes += more
    jobs = []
    for choices in typed:
        job, more = _read_job(recipe, choices)
        mistakes += more
        jobs += [job] if job else []
    raise_mistakes(mistakes)
    return jobs


def with_values(
    recipe: Recipe, config: DictConfig, values: Sequence[Override], folders: Sequence[Path] = (CONFIGS,)
) -> tuple[Job, list[Mistake]]:
    """Return ``config``, changed in place by the typed ``values``, and every mistake in it."""
    before: Any = OmegaConf.to_container(config, resolve=False)
    good, mistakes = check_keys(values, before, group_options(folders))
    for value in good:
        apply_value(config, value)
    tree, more = to_plain(config)
    mistakes += more
    return Job(config, tree), mistakes + check_tree(tree, before, name=recipe.name, settings=recipe.settings)


def _read_job(recipe: Recipe, overrides: Sequence[Override]) -> tuple[Job | None, list[Mistake]]:
    choices, values = split_groups(overrides, group_options(recipe.folders))
    try:
        composed, mistakes = _compose(recipe, choices)
    except ConfigError as error:
        return None, [Mistake(error.what, error.fix)]
    job, more = with_values(recipe, composed.config, values, recipe.folders)
    return replace(job, recipe=composed.choices.get("recipe")), mistakes + more


def _compose(recipe: Recipe, choices: Sequence[Override]) -> tuple[Composed, list[Mistake]]:
    """Compose the chosen groups; only where a choice is wrong it takes a second time to say why."""
    options = group_options(recipe.folders)
    known = [c for c in choices if c.type is OverrideType.CHANGE and c.value() in options.get(c.key_or_group, ())]
    if known == list(choices):
        plain = [choice.input_line or "" for choice in choices]
        try:
            return compose_config(recipe.file, plain, folders=recipe.folders), []
        except ConfigError:
            if lacks_recipe(choices, options):
                return compose_config(recipe.file, [*plain, "recipe=custom"], folders=recipe.folders), []
            if not choices:
                raise
    good, mistakes = check_choices(recipe.file, choices, recipe.folders)
    return compose_config(recipe.file, good, folders=recipe.folders), mistakes
