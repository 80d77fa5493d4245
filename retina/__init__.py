"""RetinaNet object-detection training whose every number can be trusted, explained and reproduced.

import retina

run = retina.train("dataset=bccd", "dataset.root=data/bccd", "train.epochs=2")   # the command line's words
result = retina.evaluate(f"ckpt={run.run_dir}")
detector = retina.load(run.run_dir)
found = detector("photo.jpg")                                                   # of a path, an array, an image of PIL
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retina.commands.evaluate import EvaluationResult
    from retina.commands.train import TrainingResult
    from retina.detector import Detector

__all__ = ["evaluate", "load", "train"]


# Each imports at its first use: `import retina` alone does not wait for torch.


def load(ckpt: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto") -> Detector:
    """Return the detector of a run directory (its best checkpoint, else the last) or of a checkpoint file.

    Raises:
        RetinaError: there is none, or it cannot be used.
    """
    from retina.detector import Detector
    from retina.machine import Machine

    return Detector.load(ckpt, machine=Machine.resolve(device, precision))


def train(*words: str) -> TrainingResult:
    """Train as ``python train.py`` with the same words does; return where the run is and its numbers.

    Raises:
        RetinaError: as the command tells it.
    """
    from retina.config.command import call_command

    return call_command("train", words)


def evaluate(*words: str) -> EvaluationResult:
    """Evaluate as ``python evaluate.py`` with the same words does; return the numbers and where they were written.

    Raises:
        RetinaError: as the command tells it.
    """
    from retina.config.command import call_command

    return call_command("evaluate", words)
