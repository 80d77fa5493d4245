"""``resume=``: the run's own saved configuration, with what is typed now on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retina.config.compose import first_line, group_options
from retina.config.former_names import present_tree
from retina.config.job import Job, Recipe, with_values
from retina.config.mistakes import Mistake, raise_mistakes
from retina.config.overrides import parse_all, split_groups
from retina.errors import ConfigError

CONFIG_FILE = "config.yaml"
LAST_CHECKPOINT = "checkpoints/last.pt"


def resumed_run(overrides: Sequence[str]) -> str | None:
    """Return the run directory that ``resume=`` names among ``overrides``, or None."""
    values = [text.split("=", 1)[1].strip("'\"") for text in overrides if text.lstrip("+").startswith("resume=")]
    return values[-1] if values and values[-1] not in ("", "null") else None


def read_resumed(
    recipe: Recipe, run_dir: str | Path, overrides: Sequence[str], *, text_in_checkpoint: Callable[[Path], str]
) -> Job:
    """Return the configuration saved in ``run_dir`` with the values of ``overrides`` on top.

    ``text_in_checkpoint`` reads the same text from the checkpoint where the file is gone.

    Raises:
        ConfigError: there is no run to resume, or anything is wrong with ``overrides``; every mistake at once.
    """
    run_dir = Path(run_dir)
    saved = _saved_config(run_dir, text_in_checkpoint)
    saved.resume = saved.run_dir = str(run_dir)
    parsed, mistakes = parse_all([text for text in overrides if not text.lstrip("+").startswith("resume=")])
    choices, values = split_groups(parsed, group_options())
    for choice in choices:
        what = f"{choice.input_line} chooses a group, but resume= takes the run's own configuration"
        mistakes.append(Mistake(what, f"leave it out, or start a new run without resume={run_dir}"))
    several = [value for value in values if value.is_sweep_override()]
    mistakes += [Mistake(f"{value.input_line} is several values", "give one") for value in several]
    job, more = with_values(recipe, saved, [value for value in values if value not in several])
    if Path(str(job.config.run_dir)).resolve() != run_dir.resolve():
        what = f"run_dir={job.config.run_dir} is not the run that resume= names"
        mistakes.append(Mistake(what, "leave run_dir= out"))
    raise_mistakes([*mistakes, *more])
    return job


def _saved_config(run_dir: Path, text_in_checkpoint: Callable[[Path], str]) -> DictConfig:
    """Read the run's config.yaml, or the same text in its last checkpoint."""
    if not run_dir.is_dir():
        owner = run_dir.parent.parent
        fix = f"resume={owner}" if run_dir.is_file() and (owner / CONFIG_FILE).is_file() else "resume=<run directory>"
        raise ConfigError(f"resume: {run_dir} is not a run directory", fix=fix)
    if not (run_dir / LAST_CHECKPOINT).is_file():
        raise ConfigError(
            f"resume: {run_dir} has no {LAST_CHECKPOINT}",
            why="the run stopped before its first checkpoint, or this is not a run directory.",
            fix="start it again without resume=",
        )
    file = run_dir / CONFIG_FILE
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else text_in_checkpoint(run_dir / LAST_CHECKPOINT)
        config = OmegaConf.create(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"resume: the saved configuration cannot be read: {file}",
            why=f"{first_line(error)}.",
            fix=f"remove {file}: the checkpoint holds the same text",
        ) from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"resume: not a configuration: {file}")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return OmegaConf.create(present_tree(plain))
