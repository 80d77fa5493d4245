"""The changing objects of a run go into a checkpoint and come back; the trainer's tests resume whole runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from retina.errors import CheckpointError
from retina.machine import Machine
from retina.settings import TrainSettings
from retina.training.checkpoint import load_checkpoint, save_checkpoint
from retina.training.progress import Progress
from retina.training.state import CHECKPOINT_FORMAT, random_state, restore_run, run_state, set_random_state
from retina.training.step import TrainStep


class Run:
    """What changes in a run of a few weights."""

    def __init__(self, *, ema: float | None = 0.5, lr: float = 0.1, seed: int = 0) -> None:
        torch.manual_seed(seed)
        model = nn.Linear(2, 1)
        criterion, optimizer = nn.BatchNorm1d(1), torch.optim.AdamW(model.parameters(), lr=lr)  # both with a state
        machine = Machine(torch.device("cpu"), "float32")
        self.progress = Progress()
        self.train_step = TrainStep(model, criterion, optimizer, TrainSettings(ema_decay=ema), machine)

    def state(self) -> dict[str, Any]:
        return run_state(self.progress, self.train_step)

    def restore(self, state: dict[str, Any]) -> None:
        restore_run(state, self.progress, self.train_step)

    def step(self) -> None:
        parts = self.train_step
        parts.criterion(parts.model(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))).square().sum().backward()
        parts.model(torch.ones(1, 2)).sum().backward()
        parts.optimizer.step()
        if parts.ema is not None:
            parts.ema.update(parts.model)
        self.progress.step += 1


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in inner for tensor in tensors(item)]


def test_what_was_saved_comes_back_in_every_object() -> None:
    first, second = Run(seed=1), Run(seed=2)
    first.step()
    written = first.state()
    assert written["format"] == CHECKPOINT_FORMAT
    drawn = (torch.rand(3), random.random())
    second.restore(written)
    assert (torch.rand(3).tolist(), random.random()) == (drawn[0].tolist(), drawn[1]), "the generators went back"
    again = second.state()
    for name in ("model", "ema", "optimizer", "criterion"):
        assert len(tensors(written[name])) >= 2
        assert all(map(torch.equal, tensors(written[name]), tensors(again[name]))), name
    assert again["progress"] == written["progress"]
    assert second.progress.step == 1


def test_settings_of_the_optimizer_are_those_of_now() -> None:
    first, second = Run(), Run(lr=0.7)
    first.step()
    second.restore(first.state())
    optimizer = second.train_step.optimizer
    assert optimizer.param_groups[0]["lr"] == 0.7
    assert len(optimizer.state_dict()["state"]) == 2, "the moments were kept"


def test_an_average_that_starts_now_starts_from_the_weights() -> None:
    first, second = Run(ema=None), Run(seed=3)
    first.step()
    second.restore(first.state())
    assert second.train_step.ema is not None
    assert torch.equal(second.train_step.ema.model.weight, first.train_step.model.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("format"), "has format None, this version reads 1"),
        (lambda state: state.pop("random"), "does not fit this configuration"),
        (lambda state: state["model"].pop("bias"), "does not fit this configuration"),
    ],
)
def test_what_does_not_fit_is_refused_in_our_words(change: Any, message: str) -> None:
    written = Run().state()
    change(written)
    with pytest.raises(CheckpointError, match=message):
        Run().restore(written)


# Random generators


def draw() -> list[float]:
    return [
        *torch.rand(3).tolist(),
        *torch.randn(1).tolist(),
        *np.random.rand(3).tolist(),  # the global generator on purpose
        float(np.random.randn()),
        random.random(),
        random.gauss(0, 1),
    ]


def test_every_generator_goes_on_as_if_nothing_had_happened() -> None:
    draw()
    np.random.randn()  # leaves a second normal number waiting: it belongs to the state
    random.gauss(0, 1)  # so does this
    state = random_state()
    expected = draw()
    draw()
    set_random_state(state)
    assert draw() == expected


def test_the_state_survives_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"random": random_state()})
    expected = draw()
    set_random_state(load_checkpoint(tmp_path / "last.pt")["random"])
    assert draw() == expected


def test_a_machine_without_gpus_ignores_their_states() -> None:
    state = {**random_state(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * 8}
    if not torch.cuda.is_available():
        set_random_state(state)
        assert random_state()["cuda"] == []
