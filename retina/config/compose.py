"""Composing a configuration from ``configs/`` without running anything, and reading overrides one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from retina.config.former_names import present_tree
from retina.config.mistakes import Mistake
from retina.errors import ConfigError

UNKNOWN = "\0unknown"  # stands for a value that could not be read; it was told already
_ENVIRONMENT = re.compile(r"oc\.env:\s*([A-Za-z_]\w*)")

_PACKAGE = Path(__file__).resolve().parents[1]
# Beside the package in a checkout, inside of it where it is installed.
CONFIGS = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())
HYDRA_VERSION_BASE = "1.3"


@dataclass(frozen=True)
class Composed:
    """A configuration, and which option of each group it was made of."""

    config: DictConfig
    choices: dict[str, str | None]


def compose_config(primary: str, overrides: Sequence[str] = (), *, folders: Sequence[Path] = (CONFIGS,)) -> Composed:
    """Compose ``primary`` (train, evaluate, predict) with overrides as on the command line.

    Args:
        folders: the folder of the primary file first, then those added by ``--config-dir``.

    Raises:
        ConfigError: the files or the overrides do not fit together.
    """
    added = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in folders[1:])}]"] if folders[1:] else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders[0]), version_base=HYDRA_VERSION_BASE):
            config = compose(primary, [*overrides, *added], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"the configuration cannot be composed: {first_line(error)}",
            fix=f"python {primary}.py --help lists the groups and their options",
        ) from error
    choices = {
        group: option for group, option in config.hydra.runtime.choices.items() if not group.startswith("hydra/")
    }
    with open_dict(config):
        del config["hydra"]
    return Composed(config, choices)


def group_options(folders: Iterable[Path] = (CONFIGS,)) -> dict[str, list[str]]:
    """Return the options of every group: ``{"loss/box": ["ciou", "diou", ...], ...}``."""
    return _group_options(tuple(folders))


@lru_cache  # asked for several times while a command is checked
def _group_options(folders: tuple[Path, ...]) -> dict[str, list[str]]:
    options: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.rglob("*.yaml"):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                options.setdefault(group, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


def parse_override(text: str) -> Override:
    """Read one ``key=value``.

    Raises:
        ConfigError: it is not of that form.
    """
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(f"{text!r} cannot be read: {first_line(error)}") from error


def apply_value(config: DictConfig, override: Override) -> None:
    """Set, add or delete one value of ``config`` in place, as Hydra does."""
    key = override.get_key_element().lstrip("+~")
    if override.is_delete():
        parent, _, name = key.rpartition(".")
        with open_dict(config):
            del (OmegaConf.select(config, parent) if parent else config)[name]
        return
    OmegaConf.update(config, key, override.value(), merge=True, force_add=True)


def to_plain(config: DictConfig) -> tuple[dict[str, Any], list[Mistake]]:
    """Return ``config`` as plain values, by present names; what cannot be resolved is ``UNKNOWN`` and a mistake."""
    mistakes: list[Mistake] = []
    return present_tree(_plain(config, "", mistakes)), mistakes


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _plain(config: DictConfig | ListConfig, path: str, mistakes: list[Mistake]) -> Any:
    names: list[Any] = list(config.keys()) if isinstance(config, DictConfig) else list(range(len(config)))
    values = {}
    for name in names:
        inner = f"{path}.{name}".lstrip(".")
        value: Any = UNKNOWN
        try:
            if OmegaConf.is_missing(config, name):
                mistakes.append(Mistake(f"{inner} must be given", f"add {inner}=<value>", path=inner))
            else:
                value = config[name]
        except OmegaConfBaseException as error:
            mistakes.append(_unresolved(inner, config, name, error))
        values[name] = _plain(value, inner, mistakes) if OmegaConf.is_config(value) else value
    return values if isinstance(config, DictConfig) else list(values.values())


def _unresolved(path: str, config: Any, name: Any, error: OmegaConfBaseException) -> Mistake:
    written = OmegaConf.to_container(config, resolve=False)[name]  # type: ignore[index]
    if variable := _ENVIRONMENT.search(str(written)):
        return Mistake(
            f"{path} is {written}, but the environment variable {variable[1]} is not set",
            f"export {variable[1]}=<value>, or {path}=<value>",
            path=path,
        )
    return Mistake(f"{path} is {written}, which cannot be resolved: {first_line(error)}", path=path)
