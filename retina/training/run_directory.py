"""The folder of a run, made exactly once."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import count
from pathlib import Path

from retina import distributed
from retina.errors import ConfigError


def create_run_directory(run_dir: str | None, *, name: str, runs: str = "runs") -> Path:
    """Make a run's folder with ``checkpoints`` and ``tensorboard`` in it and return its path, the same on every rank.

    Called by every rank; rank 0 decides. Making ``checkpoints`` is what claims a folder, so two runs started in the
    same second never share one. ``run_dir`` None means ``<runs>/<date>-<time>-<name>`` with the name of the data set.

    Raises:
        ConfigError: ``run_dir`` holds a run already, or cannot be made. On every rank.
    """
    return distributed.on_main_rank(lambda: _claim_free(Path(runs), name) if run_dir is None else _claim_given(run_dir))


def _claim_given(run_dir: str) -> Path:
    path = Path(run_dir).expanduser()
    if set(run_dir) & set("=,"):  # Hydra takes these for its own syntax
        raise ConfigError(
            f"run_dir must not contain '=' or ',': {run_dir!r}",
            why="a later resume=<folder> or ckpt=<folder> could not be read from the command line",
            fix="choose another run_dir",
        )
    if (path / "config.yaml").exists() or (path / "checkpoints").exists():
        has_checkpoints = any((path / "checkpoints").glob("*.pt"))
        removal = f"remove it (it has no checkpoint yet): rm -r {path}"
        raise ConfigError(
            f"run_dir holds a run already: {path}",
            why="its checkpoints and numbers would be mixed with those of another run",
            fix=f"choose another run_dir, or {f'resume with resume={path}' if has_checkpoints else removal}",
        )
    try:
        _claim(path)
    except OSError as error:
        raise _cannot_be_made(path, error.strerror) from error
    return path


def _claim_free(runs: Path, name: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    for attempt in count(1):
        path = runs / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            _claim(path)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_be_made(path, f"{runs} is a file" if runs.is_file() else error.strerror) from error
    return path


def _claim(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "checkpoints").mkdir()  # without exist_ok: another run may have come first just now
    (path / "tensorboard").mkdir(exist_ok=True)


def _cannot_be_made(path: Path, reason: str | None) -> ConfigError:
    what = f"the run directory cannot be made: {path}: {reason}"
    return ConfigError(what, fix="choose another run_dir, a folder that you may write to")
