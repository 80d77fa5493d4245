"""What a run's checkpoint holds of the objects that change from step to step, random generators included."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from retina.errors import CheckpointError
from retina.training.ema import Ema
from retina.training.progress import Progress

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class RunState:
    """The objects of a run that change, by the names that they have in a checkpoint."""

    progress: Progress
    model: nn.Module
    ema: Ema | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    criterion: nn.Module

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only, the random generators of this process among them."""
        return {
            "format": CHECKPOINT_FORMAT,
            "progress": self.progress.state_dict(),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "criterion": self.criterion.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put every object where ``state`` found it; what else ``state`` holds is not looked at.

        Raises:
            CheckpointError: the checkpoint is of another format, model or optimizer.
        """
        if state.get("format") != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"the checkpoint has format {state.get('format')}, this version reads {CHECKPOINT_FORMAT}",
                fix="resume with the version that wrote it, or start a new run with model.weights=<its model>",
            )
        try:
            self.model.load_state_dict(state["model"])
            if self.ema is not None:
                # An average that starts only now starts from these weights.
                self.ema.load_state_dict(state["ema"] or {"model": state["model"], "num_updates": 0})
            self._load_optimizer(state["optimizer"])
            if state["scaler"]:  # empty where the run was not in fp16 so far
                self.scaler.load_state_dict(state["scaler"])
            self.criterion.load_state_dict(state["criterion"])
            self.progress.load_state_dict(state["progress"])
            set_random_state(state["random"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                "the checkpoint does not fit this configuration",
                why=str(error).splitlines()[0],
                fix="resume without settings that change the model or the optimizer",
            ) from error

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        """Load the moments; weight decay, momentum and the like stay as they are configured now."""
        groups = self.optimizer.param_groups
        configured = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        self.optimizer.load_state_dict(state)
        for group, settings in zip(self.optimizer.param_groups, configured, strict=True):
            group.update(settings)


def random_state() -> dict[str, Any]:
    """Return the states of torch (CPU and every CUDA device), numpy's global generator and Python's."""
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),  # torch saves no uint32 everywhere
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put every generator where :func:`random_state` found it; devices that this machine lacks are left out."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda_state, device)
    numpy_state = state["numpy"]
    key = numpy_state["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, numpy_state["pos"], numpy_state["has_gauss"], numpy_state["gauss"]))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
