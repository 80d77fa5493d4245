"""Measure what a training command would do: python tools/benchmark.py dataset=coco train.batch_size=2"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def benchmark(config: Any) -> None:
    """Print how fast the configured network trains and detects, and in how much memory."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.benchmark.command import measure_config

    measure_config(config)


if __name__ == "__main__":
    sys.exit(run_command("benchmark", benchmark))
