from __future__ import annotations

import random

import numpy as np
import torch

from retina.training.checkpoint import load_checkpoint, save_checkpoint
from retina.training.random_state import random_state, set_random_state


def draw() -> list[float]:
    return [
        *torch.rand(3).tolist(),
        *torch.randn(1).tolist(),
        *np.random.rand(3).tolist(),  # the global generator on purpose
        float(np.random.randn()),
        random.random(),
        random.gauss(0, 1),
    ]


def test_every_generator_goes_on_as_if_nothing_had_happened():
    draw()
    np.random.randn()  # leaves a second normal number waiting: it belongs to the state
    random.gauss(0, 1)  # so does this
    state = random_state()
    expected = draw()
    draw()
    set_random_state(state)
    assert draw() == expected


def test_the_state_survives_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"random": random_state()})
    expected = draw()
    set_random_state(load_checkpoint(tmp_path / "last.pt")["random"])
    assert draw() == expected


def test_a_machine_without_gpus_ignores_their_states():
    state = {**random_state(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * 8}
    if not torch.cuda.is_available():
        set_random_state(state)
        assert random_state()["cuda"] == []
