"""Commands as a user types them, and what the golden files compare: nothing here imports the library.

The inside of the project may change in any way; what these tests see is the command line, the files of a run directory
and the tensors of its checkpoints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def run_command(
    script: str, *arguments: str, folder: Path, timeout: int = 250, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python <checkout>/<script> <arguments>`` in ``folder``, on one thread, with more environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RETINA_")}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_ALBUMENTATIONS_UPDATE": "1", **variables}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def must_work(script: str, *arguments: str, folder: Path, **variables: str) -> str:
    """Run a command that has to succeed; what it printed."""
    done = run_command(script, *arguments, folder=folder, **variables)
    assert done.returncode == 0, f"{script} {' '.join(arguments)}\nexit status {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


def read_golden(name: str) -> Any:
    """Return the content of a golden file."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def write_golden(name: str, content: Any) -> None:
    """Write a golden file: indented, so that a difference shows in a diff."""
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def metrics_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return ``{"optimizer.lr": 0.01, ...}`` of a nested configuration; the items of a list are numbered."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None or not tree:
        return {path: tree}
    return {
        name: value
        for key, inner in items
        for name, value in flat(inner, f"{path}.{key}" if path else str(key)).items()
    }
