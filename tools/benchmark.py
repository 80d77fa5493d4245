"""Measure what a training command would do: python tools/benchmark.py dataset=coco train.batch_size=2"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("benchmark"))
