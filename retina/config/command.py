"""The one entry point of ``train.py``, ``evaluate.py`` and the tools: check, compose, run, tell how it ended."""

from __future__ import annotations

import io
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from retina.config.check import check_command
from retina.config.compose import CONFIGS, HYDRA_VERSION_BASE
from retina.config.help import help_text
from retina.config.outcome import Outcome, flush_output
from retina.config.resume import compose_resumed, resumed_run
from retina.config.schema import SETTINGS_OF
from retina.errors import ConfigError

Function = Callable[[DictConfig], object]


def run_command(
    name: str, function: Function, *, settings: type | None = None, arguments: Sequence[str] | None = None
) -> int:
    """Run ``function`` on the configuration that the command line describes and return the exit status.

    Nothing is raised: mistakes are told on stderr as `error: ... why: ... fix: ...`, without a traceback.

    Args:
        name: of the primary file, ``configs/<name>.yaml``.
        function: takes the configuration; sets ``config.run_dir`` once it has made one, so that tracebacks go there.
        settings: the dataclass of the command's scalars; by default the one that belongs to ``name``.
        arguments: what was typed after the script's name; by default ``sys.argv[1:]``.
    """
    outcome = Outcome(name)
    with outcome:
        typed = list(sys.argv[1:] if arguments is None else arguments)
        _dispatch(name, function, settings or SETTINGS_OF.get(name), typed, outcome)
    return outcome.exit_status or flush_output()


def _dispatch(name: str, function: Function, settings: type | None, typed: list[str], outcome: Outcome) -> None:
    flags, overrides = _split_arguments(typed)
    folders = [Path(flags.config_path or CONFIGS).resolve()]
    folders += [Path(flags.config_dir).resolve()] if flags.config_dir else []
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder of configuration files {folder}")
    if flags.help:
        print(help_text(name, folders))
        return
    run_dir = resumed_run(overrides) if name == "train" else None
    if run_dir is not None:
        if flags.multirun:
            raise ConfigError("resume= goes on with one run, but -m asks for many", fix="leave -m out")
        _run_or_show(compose_resumed(run_dir, overrides), function, flags, outcome)
        return
    if not flags.hydra_help and not flags.shell_completion:
        check_command(flags.config_name or name, overrides, settings=settings, multirun=flags.multirun, folders=folders)
    shown = io.StringIO()
    # Hydra would print a traceback if nobody read what it shows (`| head`), so it is printed here.
    with redirect_stdout(shown) if flags.cfg or flags.info else nullcontext():
        _hand_over(name, function, typed, overrides, outcome)
    sys.stdout.write(shown.getvalue())


def _run_or_show(config: DictConfig, function: Function, flags: Namespace, outcome: Outcome) -> None:
    if flags.cfg:
        print(OmegaConf.to_yaml(config, resolve=flags.resolve), end="")
    else:
        _run(config, function, outcome)


def _run(config: DictConfig, function: Function, outcome: Outcome) -> None:
    """Run ``function``; where it fails, its traceback goes to the run directory that it has made by then."""
    with outcome, _run_directory_of(config, outcome):
        function(config)


@contextmanager
def _run_directory_of(config: DictConfig, outcome: Outcome) -> Iterator[None]:
    try:
        yield
    finally:
        outcome.run_dir = config.get("run_dir")


def _hand_over(name: str, function: Function, typed: list[str], overrides: list[str], outcome: Outcome) -> None:
    """Let Hydra run the job or jobs, or show the configuration."""

    def job(config: DictConfig) -> None:
        _number_run_directory(config)
        failures = outcome.num_failures
        with _command_line(as_typed):  # what the manifest keeps
            _run(config, function, outcome)
        if outcome.num_failures > failures and HydraConfig.get().mode == RunMode.MULTIRUN:
            failed.append(" ".join(HydraConfig.get().overrides.task))
        if outcome.interrupted:
            raise KeyboardInterrupt  # ends the other jobs of a sweep too

    failed: list[str] = []
    as_typed = [sys.argv[0], *typed]
    flags = list(typed)
    for override in overrides:
        flags.remove(override)
    with tempfile.TemporaryDirectory(prefix="retina-hydra-") as folder:
        line = [sys.argv[0], *overrides, *_quiet(overrides, folder), *flags]
        with _command_line(line):
            try:
                hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(CONFIGS), config_name=name)(job)()
            except KeyboardInterrupt:
                if not outcome.interrupted:
                    raise
    for job_overrides in failed:
        print(f"failed: {job_overrides}", file=sys.stderr)


@contextmanager
def _command_line(line: list[str]) -> Iterator[None]:
    """Show another command line: Hydra reads ``sys.argv``."""
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
