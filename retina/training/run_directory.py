"""The folder of a run, made exactly once."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from retina import distributed
from retina.errors import ConfigError

# A later `resume=<folder>` on the command line: Hydra takes these for its own syntax.
_UNREADABLE_ON_THE_COMMAND_LINE = "=,"


def create_run_directory(run_dir: str | None, *, name: str, runs: str = "runs") -> Path:
    """Make a run's folder with ``checkpoints`` and ``tensorboard`` in it and return its path, the same on every rank.

    Called by every rank; rank 0 decides and tells the others. Making ``checkpoints`` is what claims a folder, so two
    runs started in the same second never share one.

    Args:
        run_dir: as the user gave it, or None for ``<runs>/<date>-<time>-<name>``.
        name: of the data set; used only where ``run_dir`` is None.

    Raises:
        ConfigError: ``run_dir`` holds a run already, or cannot be made. On every rank.
    """
    outcome: Path | ConfigError | None = None
    if distributed.is_main():
        try:
            outcome = _claim_given(run_dir) if run_dir is not None else _claim_free(Path(runs), name)
        except ConfigError as error:
            outcome = error
    outcome = distributed.broadcast_object(outcome)
    if isinstance(outcome, ConfigError):
        raise outcome
    return outcome


def _claim_given(run_dir: str) -> Path:
    path = Path(run_dir).expanduser()
    if any(character in run_dir for character in _UNREADABLE_ON_THE_COMMAND_LINE):
        raise ConfigError(
            f"run_dir must not contain '=' or ',': {run_dir!r}",
            why="a later resume=<folder> or ckpt=<folder> could not be read from the command line",
            fix="choose another run_dir",
        )
    has_checkpoints = any((path / "checkpoints").glob("*.pt"))
    if (path / "config.yaml").exists() or (path / "checkpoints").exists():
        raise ConfigError(
            f"run_dir holds a run already: {path}",
            why="its checkpoints and numbers would be mixed with those of another run",
            fix=f"choose another run_dir, or go on with resume={path}"
            if has_checkpoints
            else f"choose another run_dir, or remove it (it has no checkpoint yet): rm -r {path}",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        _make_folders(path)
    except OSError as error:
        raise _cannot_be_made(path, error.strerror) from error
    return path


def _claim_free(runs: Path, name: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    attempt = 1
    while True:
        path = runs / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir(parents=True)
            _make_folders(path)
            return path
        except FileExistsError:
            attempt += 1
        except OSError as error:
            raise _cannot_be_made(path, f"{runs} is a file" if runs.is_file() else error.strerror) from error


def _make_folders(path: Path) -> None:
    (path / "checkpoints").mkdir()  # without exist_ok: another run may have come first just now
    (path / "tensorboard").mkdir(exist_ok=True)


def _cannot_be_made(path: Path, reason: str | None) -> ConfigError:
    return ConfigError(
        f"the run directory cannot be made: {path}: {reason}",
        fix="choose another run_dir, a folder that you may write to",
    )
