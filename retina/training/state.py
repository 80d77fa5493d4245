"""What a run's checkpoint holds of the objects that change from step to step, random generators included."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from retina.errors import CheckpointError
from retina.training.progress import Progress
from retina.training.step import TrainStep

CHECKPOINT_FORMAT = 1


def run_state(progress: Progress, step: TrainStep) -> dict[str, Any]:
    """Return tensors and plain values only, the random generators of this process among them."""
    return {
        "format": CHECKPOINT_FORMAT,
        "progress": progress.state_dict(),
        "model": step.model.state_dict(),
        "ema": step.ema.state_dict() if step.ema is not None else None,
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        "criterion": step.criterion.state_dict(),
        "random": random_state(),
    }


def restore_run(state: Mapping[str, Any], progress: Progress, step: TrainStep) -> None:
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
        step.model.load_state_dict(state["model"])
        if step.ema is not None:
            # An average that starts only now starts from these weights.
            step.ema.load_state_dict(state["ema"] or {"model": state["model"], "num_updates": 0})
        _load_optimizer(step.optimizer, state["optimizer"])
        if state["scaler"]:  # empty where the run was not in fp16 so far
            step.scaler.load_state_dict(state["scaler"])
        step.criterion.load_state_dict(state["criterion"])
        progress.load_state_dict(state["progress"])
        set_random_state(state["random"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            "the checkpoint does not fit this configuration",
            why=str(error).splitlines()[0],
            fix="resume without settings that change the model or the optimizer",
        ) from error


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the moments; weight decay, momentum and the like stay as they are configured now."""
    configured = [{name: group[name] for name in group if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, configured, strict=True):
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
