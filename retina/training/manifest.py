"""``manifest.json``: how a run came about (versions, git, command line, hardware, data) and where its time went."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from retina.errors import RetinaError
from retina.files import write_json_atomically

_CHECKOUT = Path(__file__).resolve().parents[2]

_PACKAGES = ["torch", "torchvision", "numpy", "pycocotools", "opencv-python-headless", "albumentations"]
_PACKAGES += ["hydra-core", "omegaconf", "tensorboard"]


def write_manifest(run_dir: Path, *, seed: int, precision: str, datasets: Mapping[str, Any]) -> None:
    """Write ``manifest.json``: versions, git commit, command, hardware, data fingerprint, seed and precision.

    A run that is resumed keeps what was said of its earlier starts under ``earlier_starts``.
    """
    manifest = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        **describe_environment(),
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

    A phase inside another one (an evaluation within training) stops the outer clock, so the seconds add up.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
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
            self._seconds[self._running[-1]] += now - self._since
        self._since = now


def describe_environment() -> dict[str, Any]:
    """Return versions, git state, command line and hardware as plain values."""
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return {
        "command": shlex.join(sys.argv),
        "working_directory": str(Path.cwd()),
        "versions": {
            "retina": _retina_version(),
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
            "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        },
        "git": git_state(_CHECKOUT),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "gpus": [{"name": d.name, "memory_gib": round(d.total_memory / 2**30, 1)} for d in devices],
            "system": platform.platform(),
        },
    }


def git_state(checkout: Path) -> dict[str, Any] | None:
    """Return the commit of ``checkout`` and whether files differ from it; None outside git or without git."""
    top, commit = _git(checkout, "rev-parse", "--show-toplevel"), _git(checkout, "rev-parse", "HEAD")
    # Installed into some other project's checkout, its commit would say nothing about this code.
    if top is None or commit is None or Path(top).resolve() != checkout.resolve():
        return None
    return {"commit": commit, "dirty": bool(_git(checkout, "status", "--porcelain"))}


def _git(checkout: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(checkout), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or a file system too slow to wait for
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _retina_version() -> str | None:
    """Return the version of the checkout (which need not be installed), else of the installed package."""
    pyproject = _CHECKOUT / "pyproject.toml"
    if pyproject.is_file():
        return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
    return _version("retina")


def _cpu_model() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        if match := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return match[1].strip()
    return platform.processor() or platform.machine()


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
        write_json_atomically(path, manifest, indent=2)
    except OSError as error:
        raise RetinaError(
            f"the manifest cannot be written: {path}: {error.strerror or error}",
            why="a full disk, or no permission to write there",
            fix=f"make room or give write permission in {run_dir}",
        ) from error
