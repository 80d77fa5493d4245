"""Short trainings log the numbers that they logged: losses, norm of the gradient, learning rate, loss of evaluation.

Tolerances: on one kind of CPU the numbers are equal to the bit. Another kind (another width of vectors, other kernels)
rounds elsewhere, and training magnifies that from step to step. Measured between AVX-512 and the plain kernels, the
largest difference stands beside each tolerance; a changed constant of a loss is larger from the first step on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.golden.commands import read_golden
from tests.golden.curves import CURVES, SWEEPS, train_curve, train_sweep, write_weights
from tests.golden.test_settings import assert_same_settings

pytestmark = pytest.mark.slow

GOLDEN = read_golden("curves.json")
FIRST_STEPS, FIRST, LATER = 3, 1e-4, 2e-2
GROUPS = list(SWEEPS)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings find their images and weights, made once."""
    folder = tmp_path_factory.mktemp("curves")
    write_weights(folder / "resnet18.pth")
    return folder


@pytest.fixture(scope="session")
def swept(folder: Path) -> dict[str, dict[str, Any]]:
    """What every option of the two groups of losses trained to; each sweep is one process."""
    return {group: train_sweep(group, folder) for group in SWEEPS}


def assert_same_numbers(found: dict[str, list[float]], golden: dict[str, list[float]]) -> None:
    """Compare logged numbers, the first steps closely."""
    assert found.keys() == golden.keys()
    for name, numbers in golden.items():
        assert len(found[name]) == len(numbers), name
        for step, (ours, wanted) in enumerate(zip(found[name], numbers, strict=True), start=1):
            close = name == "train/lr" or (step <= FIRST_STEPS and name.startswith("train"))
            assert ours == pytest.approx(wanted, rel=FIRST if close else LATER, abs=1e-9), f"{name} of step {step}"


@pytest.mark.parametrize("name", CURVES)
def test_twenty_steps_log_what_they_logged(name, folder):
    assert_same_numbers(train_curve(name, folder), GOLDEN[name])


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in SWEEPS[group]])
def test_every_loss_starts_as_it_started(group, option, swept):
    assert_same_numbers(swept[group][option]["numbers"], GOLDEN[group][option]["numbers"])


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in SWEEPS[group]])
def test_every_loss_has_the_settings_and_defaults_that_it_had(group, option, swept):
    assert_same_settings(swept[group][option]["settings"], GOLDEN[group][option]["settings"])
