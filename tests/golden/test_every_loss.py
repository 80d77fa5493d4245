"""Every loss logs the numbers that it logged, and has the settings that it had; test_curves.py says what is equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.golden.curves import SWEEPS, train_sweep
from tests.golden.test_curves import GOLDEN, assert_same_numbers
from tests.golden.test_settings import assert_same_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session", params=list(SWEEPS))
def swept(request: pytest.FixtureRequest, folder: Path) -> tuple[str, dict[str, Any]]:
    """A group of losses and what each of its options trained to; a sweep is one process."""
    return request.param, train_sweep(request.param, folder)


def test_every_loss_logs_what_it_logged(swept):
    group, found = swept
    assert found.keys() == GOLDEN[group].keys()
    wrong = {}
    for option, golden in GOLDEN[group].items():
        try:
            assert_same_numbers(option, found[option]["numbers"], golden["numbers"])
        except AssertionError as error:
            wrong[option] = str(error)
    assert wrong == {}


def test_every_loss_has_the_settings_and_defaults_that_it_had(swept):
    group, found = swept
    for option, golden in GOLDEN[group].items():
        assert_same_settings(found[option]["settings"], golden["settings"])
