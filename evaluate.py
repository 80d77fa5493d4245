"""Evaluate a checkpoint, or score a COCO results file: ``python evaluate.py --help`` lists the settings.

python evaluate.py ckpt=runs/mine                # a run directory (best checkpoint, else last) or a checkpoint
python evaluate.py ckpt=runs/mine split=test
python evaluate.py detections=results.json annotations=instances.json run_dir=out
"""

from __future__ import annotations

import os
import sys

# Albumentations asks the network for its newest version on import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from omegaconf import DictConfig

from retina.config.command import run_command


def evaluate(config: DictConfig) -> None:
    """Compute, print and write the metrics that ``config`` asks for."""
    # Imports torch, which takes seconds: mistakes in the command have been told by now.
    from retina.commands import runs

    runs.evaluate(config)


if __name__ == "__main__":
    sys.exit(run_command("evaluate", evaluate))
