"""What a run was made with: versions, git commit, command line, hardware, and fingerprints of files."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch

_CHECKOUT = Path(__file__).resolve().parents[2]

_PACKAGES = (
    "torch", "torchvision", "numpy", "pycocotools", "opencv-python-headless", "albumentations", "hydra-core",
    "omegaconf", "tensorboard",
)  # fmt: skip


def describe_environment(command: list[str] | None = None) -> dict[str, Any]:
    """Return versions, git state, command line (None: that of this process) and hardware as plain values."""
    return {
        "command": shlex.join(sys.argv if command is None else command),
        "working_directory": str(Path.cwd()),
        "versions": _versions(),
        "git": git_state(_CHECKOUT),
        "hardware": _hardware(),
    }


def git_state(checkout: Path) -> dict[str, Any] | None:
    """Return the commit of ``checkout`` and whether files differ from it; None outside git or without git."""
    top = _git(checkout, "rev-parse", "--show-toplevel")
    commit = _git(checkout, "rev-parse", "HEAD")
    # Installed into some other project's checkout, its commit would say nothing about this code.
    if top is None or commit is None or Path(top).resolve() != checkout.resolve():
        return None
    return {"commit": commit, "dirty": bool(_git(checkout, "status", "--porcelain"))}


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system too slow to wait for
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _versions() -> dict[str, str | None]:
    return {
        "retina": _retina_version(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


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


def _hardware() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _gpus(),
        "system": platform.platform(),
    }


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [{"name": device.name, "memory_gib": round(device.total_memory / 2**30, 1)} for device in devices]


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()
