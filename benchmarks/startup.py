"""Seconds until a command answers: help, a misspelt setting, a run up to its first line.

    python benchmarks/startup.py

`import torchvision` alone is the floor of whatever needs the network, `import hydra` that of whatever reads the
configuration; a mistake on the command line should cost no more than the latter.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.benchmark.measure import alternate, report

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import hydra": ["-c", "import hydra"],
    "import torch": ["-c", "import torch"],
    "import torchvision": ["-c", "import torchvision"],
    "import retina.config.command": ["-c", "import retina.config.command"],
    "import retina.commands.train (everything)": ["-c", "import retina.commands.train"],
    "train.py --help": ["train.py", "--help"],
    "train.py with a misspelt setting": ["train.py", "dataset=coco", "optimiser.lr=0.1"],
    "train.py --cfg job": ["train.py", "dataset=coco", "--cfg", "job"],
    "evaluate.py without a checkpoint": ["evaluate.py"],
}
FAILS = {"train.py with a misspelt setting", "evaluate.py without a checkpoint"}


def run(name: str) -> None:
    """Run one command and check that it ended as it should."""
    done = subprocess.run([sys.executable, *COMMANDS[name]], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != (2 if name in FAILS else 0):
        raise SystemExit(f"{name} ended with status {done.returncode}:\n{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    options = parser.parse_args()
    timings = alternate({name: partial(run, name) for name in COMMANDS}, repeats=options.repeats, warmup=1)
    floor = timings["import torchvision"].median
    rows = [
        {
            "command": name,
            "seconds": timing.median,
            "spread": timing.spread,
            "/ import torchvision": timing.median / floor,
        }
        for name, timing in timings.items()
    ]
    report("startup", rows, notes=[f"Median of {options.repeats} fresh processes each, alternating, files cached."])


if __name__ == "__main__":
    main()
