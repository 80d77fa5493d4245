"""Train a RetinaNet: ``python train.py --help`` lists data sets, groups and settings.

python train.py                                  # the small recipe on the embedded data set
python train.py dataset=coco                     # the standard recipe
python train.py resume=runs/mine                 # go on exactly where a run stopped
torchrun --nproc-per-node 2 train.py dataset=coco
"""

from __future__ import annotations

import os
import sys

# Albumentations asks the network for its newest version on import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from omegaconf import DictConfig

from retina.config.command import run_command


def train(config: DictConfig) -> None:
    """Build the run that ``config`` describes and train it to its end."""
    # Imports torch, which takes seconds: mistakes in the command have been told by now.
    from retina.commands import runs

    runs.train(config)


if __name__ == "__main__":
    sys.exit(run_command("train", train))
