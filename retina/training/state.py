"""What a run's checkpoint holds of the objects that change from step to step, and going on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from retina.errors import CheckpointError
from retina.training.ema import Ema
from retina.training.progress import Progress
from retina.training.random_state import random_state, set_random_state

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
