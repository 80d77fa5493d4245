"""The folder of a run: made exactly once, and its ``manifest.json``, which says how the run came about."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from retina import distributed
from retina.errors import ConfigError, RetinaError
from retina.files import write_text_atomically
from retina.training.environment import describe_environment

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
    # An error travels as its parts: exceptions with keyword arguments cannot be unpickled.
    parts = (outcome.what, outcome.why, outcome.fix) if isinstance(outcome, ConfigError) else None
    path, parts = distributed.broadcast_object((None if parts else outcome, parts))
    if parts:
        raise ConfigError(parts[0], why=parts[1], fix=parts[2])
    return path


def write_manifest(
    run_dir: Path, *, seed: int, precision: str, datasets: Mapping[str, Any], command: list[str] | None = None
) -> None:
    """Write ``manifest.json``: versions, git commit, command, hardware, data fingerprint, seed and precision.

    A run that is gone on with keeps what was said of its earlier starts under ``earlier_starts``.

    Args:
        precision: as resolved (``"bf16"``), not as asked for (``"auto"``).
        datasets: what identifies the data, such as the sha256 of each annotation file.
        command: the command line; None takes that of this process.
    """
    manifest = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        **describe_environment(command),
        "seed": seed,
        "precision": precision,
        "data": dict(datasets),
        "seconds": {},
    }
    if earlier := _read_manifest(run_dir):
        manifest["earlier_starts"] = [*earlier.pop("earlier_starts", []), earlier]
    _replace_manifest(run_dir, manifest)


def update_manifest(run_dir: Path, **facts: Any) -> None:
    """Set entries of ``manifest.json``, as ``seconds=phases.seconds()`` at the end of a run."""
    _replace_manifest(run_dir, {**_read_manifest(run_dir), **facts})


class Phases:
    """Wall-clock seconds by phase: ``with phases("train"): ...``.

    A phase inside another one (an evaluation within training) stops the outer clock, so the seconds add up to the time
    that passed.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time of the block for ``phase``, also when the block fails."""
        self._settle()
        self._running.append(phase)
        try:
            yield
        finally:
            self._settle()
            self._running.pop()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase in the order of their first start, those under way included."""
        self._settle()
        return {phase: round(seconds, 3) for phase, seconds in self._seconds.items()}

    def _settle(self) -> None:
        """Give the time since the last change to the innermost phase."""
        now = time.monotonic()
        if self._running:
            phase = self._running[-1]
            self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now


def _read_manifest(run_dir: Path) -> dict[str, Any]:
    """Return the manifest; empty where there is none or it cannot be read: no run shall end for that."""
    try:
        manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _replace_manifest(run_dir: Path, manifest: Mapping[str, Any]) -> None:
    path = run_dir / "manifest.json"
    try:
        write_text_atomically(path, json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        raise RetinaError(
            f"the manifest cannot be written: {path}: {error.strerror or error}",
            why="a full disk, or no permission to write there",
            fix=f"make room or give write permission in {run_dir}",
        ) from error


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
    return _make(path)


def _claim_free(runs: Path, name: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    attempt = 1
    while True:
        path = runs / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            runs.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            return _make(path)
        except FileExistsError:
            if not runs.is_dir():
                raise _cannot_be_made(path, f"{runs} is a file") from None
            attempt += 1
        except OSError as error:
            raise _cannot_be_made(path, error.strerror) from error


def _make(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "checkpoints").mkdir()  # without exist_ok: another run may have come first just now
        (path / "tensorboard").mkdir(exist_ok=True)
    except OSError as error:
        raise _cannot_be_made(path, error.strerror) from error
    return path


def _cannot_be_made(path: Path, reason: str | None) -> ConfigError:
    return ConfigError(
        f"the run directory cannot be made: {path}: {reason}",
        fix="choose another run_dir, a folder that you may write to",
    )
