"""The one entry point of ``train.py``, ``evaluate.py`` and the tools: check, compose, run, tell how it ended.

A command is one file: its docstring begins with its name (``train: ...``), its dataclass ``Settings`` says types and
ranges of its scalars, ``configs/<name>.yaml`` their values and meaning, and ``run(settings, sections)`` does the work.
"""

from __future__ import annotations

import gc
import importlib
import io
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from retina.config.compose import CONFIGS, HYDRA_VERSION_BASE, to_plain
from retina.config.help import help_text
from retina.config.job import Job, Recipe, read_jobs
from retina.config.outcome import Outcome, flush_output
from retina.config.overrides import by_present_name
from retina.config.resume import read_resumed, resumed_run
from retina.config.sections import construct, split_sections
from retina.config.signatures import read_signature
from retina.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
# What stands on the command line for a group, because it is the word that everybody looks for.
_SPELLINGS = {"convert_dataset": {"from": "dataset"}}


def run_command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command ``name`` as the command line describes it and return the exit status.

    Nothing is raised: mistakes are told on stderr as `error: ... why: ... fix: ...`, without a traceback.

    Args:
        name: of the primary file, ``configs/<name>.yaml``.
        arguments: what was typed after the script's name; by default ``sys.argv[1:]``.
    """
    outcome = Outcome(name)
    typed = list(sys.argv[1:] if arguments is None else arguments)
    with outcome, _command_line([sys.argv[0], *typed]):
        _dispatch(Command(name), typed, outcome)
    return outcome.exit_status or flush_output()


def call_command(name: str, words: Sequence[str]) -> Any:
    """Run the command ``name`` with ``words`` as on the command line, and return what its ``run`` returns.

    Raises:
        RetinaError: what is wrong with the words, or what went wrong.
    """
    command = Command(name)
    with _command_line([name, *words]):
        return command(command.read_job(_spelled(name, words)).tree)


class Command:
    """A command found by its name; its module, which imports torch, is imported when it is run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = _module_of(name)

    def recipe(self, flags: Namespace | None = None) -> Recipe:
        """Return where the command's configuration comes from."""
        folders = [CONFIGS]
        if flags is not None:
            folders = [Path(flags.config_path or CONFIGS).resolve()]
            folders += [Path(flags.config_dir).resolve()] if flags.config_dir else []
            for folder in folders:
                if not folder.is_dir():
                    raise ConfigError(f"there is no folder of configuration files {folder}")
        file = flags.config_name if flags is not None and flags.config_name else self.name
        return Recipe(self.name, file, read_signature(f"{self.module}.Settings"), folders)

    def read_job(self, overrides: Sequence[str], flags: Namespace | None = None) -> Job:
        """Return the one job that ``overrides`` ask for: composed once, checked, resolved."""
        recipe = self.recipe(flags)
        run_dir = resumed_run(overrides) if self.name == "train" else None
        if run_dir is None:
            return read_jobs(recipe, overrides)[0]
        return read_resumed(recipe, run_dir, overrides, text_in_checkpoint=_text_in_checkpoint)

    def __call__(self, tree: dict[str, Any]) -> Any:
        """Run the command on a checked configuration of plain values."""
        # Imports torch, which takes seconds: mistakes in the command have been told by now.
        module = importlib.import_module(self.module)
        scalars, sections = split_sections(tree, read_signature(f"{self.module}.Settings"))
        return module.run(construct(module.Settings, scalars), sections)


def __getattr__(name: str) -> Callable[[], int]:
    """Return the entry point of a console script, ``main_train`` of ``retina-train``."""
    if not name.startswith("main_"):
        raise AttributeError(name)
    return partial(run_command, name.removeprefix("main_"))


def _dispatch(command: Command, typed: list[str], outcome: Outcome) -> None:
    flags, words = _split_arguments(typed)
    overrides = _spelled(command.name, words)
    recipe = command.recipe(flags)
    if flags.help:
        print(help_text(command.name, recipe.folders))
        return
    if flags.multirun and command.name == "train" and resumed_run(overrides) is not None:
        raise ConfigError("resume= takes one run, but -m asks for many", fix="leave -m out")
    if _is_for_hydra(flags, overrides):
        if not flags.hydra_help and not flags.shell_completion:
            recipes = {job.recipe for job in read_jobs(recipe, overrides, multirun=flags.multirun)}
            if recipes == {"custom"} and not any(text.startswith("recipe=") for text in overrides):
                overrides = [*overrides, "recipe=custom"]  # the data set may have no recipe of its own
        shown = io.StringIO()
        # Hydra would print a traceback if nobody read what it shows (`| head`), so it is printed here.
        with redirect_stdout(shown) if flags.cfg or flags.info else nullcontext():
            _hand_over(command, [text for text in typed if text not in words], overrides, outcome)
        sys.stdout.write(shown.getvalue())
        return
    with _without_garbage_collection():
        job = command.read_job(overrides, flags)
    if flags.cfg:
        print(OmegaConf.to_yaml(job.config, resolve=flags.resolve), end="")
    else:
        command(job.tree)


def _is_for_hydra(flags: Namespace, overrides: Sequence[str]) -> bool:
    """Return whether something of Hydra's own is asked for: a sweep, a launcher, its help; else it only composes."""
    of_hydra = flags.multirun or flags.info or flags.hydra_help or flags.shell_completion or flags.experimental_rerun
    own = any(text.lstrip("+~").startswith(("hydra.", "hydra/")) for text in overrides)
    return bool(of_hydra or own or flags.cfg not in (None, "job") or flags.package)


def _hand_over(command: Command, flags: list[str], overrides: list[str], outcome: Outcome) -> None:
    """Let Hydra run the job or jobs, or show the configuration."""
    as_typed = list(sys.argv)

    def job(config: DictConfig) -> None:
        _number_run_directory(config)
        failures = outcome.num_failures
        with _command_line(as_typed), outcome:
            command(to_plain(config)[0])
        if outcome.num_failures > failures and HydraConfig.get().mode == RunMode.MULTIRUN:
            failed.append(" ".join(HydraConfig.get().overrides.task))
        if outcome.interrupted:
            raise KeyboardInterrupt  # ends the other jobs of a sweep too

    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="retina-hydra-") as folder:
        line = [sys.argv[0], *overrides, *_quiet(overrides, folder), *flags]
        with _command_line(line):
            try:
                hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(CONFIGS), config_name=command.name)(job)()
            except KeyboardInterrupt:
                if not outcome.interrupted:
                    raise
    for job_overrides in failed:
        print(f"failed: {job_overrides}", file=sys.stderr)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Leave out a tenth of the time that a mistake takes to be told: everything that is made until then is kept."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _command_line(line: list[str]) -> Iterator[None]:
    """Show another command line: Hydra reads ``sys.argv``, and so does what a run keeps of its command."""
    typed, sys.argv = sys.argv, line
    try:
        yield
    finally:
        sys.argv = typed


def _number_run_directory(config: DictConfig) -> None:
    """Give every job of a sweep its own directory below the one that was asked for."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN and config.get("run_dir"):
        config.run_dir = str(Path(config.run_dir) / str(job.job.num))


def _quiet(overrides: Sequence[str], folder: str) -> list[str]:
    """Return what keeps Hydra from making folders, writing files and setting up logging, unless asked to."""
    settings = {
        "hydra.output_subdir": "null",
        "hydra.run.dir": ".",
        "hydra.sweep.dir": f"'{folder}'",  # Hydra writes a multirun.yaml there
        "hydra.sweep.subdir": "job",
        "hydra/job_logging": "none",
        "hydra/hydra_logging": "none",
    }
    typed = {text.split("=", 1)[0] for text in overrides}
    return [f"{key}={value}" for key, value in settings.items() if key not in typed]


def _split_arguments(typed: list[str]) -> tuple[Namespace, list[str]]:
    """Return Hydra's flags and the overrides; unknown flags stay among the overrides, where they are told."""
    flags, unknown = get_args_parser().parse_known_intermixed_args(typed)
    return flags, [*flags.overrides, *unknown]


def _spelled(name: str, words: Sequence[str]) -> list[str]:
    """Return ``words`` by the names that groups and settings have in the configuration."""
    spellings = _SPELLINGS.get(name, {})
    split = [word.partition("=") for word in words]
    return [by_present_name(f"{spellings.get(key, key)}{equals}{value}") for key, equals, value in split]


def _module_of(name: str) -> str:
    """Return the full name of the module that holds the command ``name``: its docstring begins with the name."""
    own = [_PACKAGE / "commands" / f"{name}.py", _PACKAGE / name / "command.py"]
    for file in [*(path for path in own if path.is_file()), *sorted(_PACKAGE.glob("*/command.py"))]:
        with file.open(encoding="utf-8") as lines:
            if lines.readline().startswith(f'"""{name}: '):
                return ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts)
    raise LookupError(f"there is no command {name!r}")


def _text_in_checkpoint(path: Path) -> str:
    # Imports torch; only where config.yaml is gone.
    return str(importlib.import_module("retina.training.checkpoint").load_checkpoint(path)["config"])
