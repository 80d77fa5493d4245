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
from retina.machine import gradient_scaler
from retina.training.checkpoint import load_checkpoint, save_checkpoint
from retina.training.ema import Ema
from retina.training.progress import Progress
from retina.training.state import CHECKPOINT_FORMAT, RunState, random_state, set_random_state


def make_state(*, ema: float | None = 0.5, lr: float = 0.1, seed: int = 0) -> RunState:
    torch.manual_seed(seed)
    model = nn.Linear(2, 1)
    return RunState(
        progress=Progress(),
        model=model,
        ema=None if ema is None else Ema(model, ema),
        optimizer=torch.optim.AdamW(model.parameters(), lr=lr),
        scaler=gradient_scaler("float32", torch.device("cpu")),
        criterion=nn.BatchNorm1d(1),  # something with buffers
    )


def step(state: RunState) -> None:
    state.criterion(state.model(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))).square().sum().backward()
    state.model(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update(state.model)
    state.progress.step += 1


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in inner for tensor in tensors(item)]


def test_what_was_saved_comes_back_in_every_object() -> None:
    first, second = make_state(seed=1), make_state(seed=2)
    step(first)
    written = first.state_dict()
    assert written["format"] == CHECKPOINT_FORMAT
    drawn = (torch.rand(3), random.random())
    second.load_state_dict(written)
    assert (torch.rand(3).tolist(), random.random()) == (drawn[0].tolist(), drawn[1]), "the generators went back"
    again = second.state_dict()
    for name in ("model", "ema", "optimizer", "criterion"):
        assert len(tensors(written[name])) >= 2
        assert all(map(torch.equal, tensors(written[name]), tensors(again[name]))), name
    assert again["progress"] == written["progress"]
    assert second.progress.step == 1


def test_settings_of_the_optimizer_are_those_of_now() -> None:
    first, second = make_state(), make_state(lr=0.7)
    step(first)
    second.load_state_dict(first.state_dict())
    assert second.optimizer.param_groups[0]["lr"] == 0.7
    assert len(second.optimizer.state_dict()["state"]) == 2, "the moments were kept"


def test_an_average_that_starts_now_starts_from_the_weights() -> None:
    first, second = make_state(ema=None), make_state(seed=3)
    step(first)
    second.load_state_dict(first.state_dict())
    assert second.ema is not None
    assert torch.equal(second.ema.model.weight, first.model.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("format"), "has format None, this version reads 1"),
        (lambda state: state.pop("random"), "does not fit this configuration"),
        (lambda state: state["model"].pop("bias"), "does not fit this configuration"),
    ],
)
def test_what_does_not_fit_is_refused_in_our_words(change: Any, message: str) -> None:
    written = make_state().state_dict()
    change(written)
    with pytest.raises(CheckpointError, match=message):
        make_state().load_state_dict(written)


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
