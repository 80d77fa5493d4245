"""Runs of an earlier version are evaluated and resumed to the numbers of that version; former names are understood.

Numbers are compared to 1e-4. Where ``RETINA_GOLDEN_BITWISE=1`` is set, the final tensors are compared to the bit too:
this holds only on the kind of machine that made the golden files, since other CPUs differ in the last bits.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.golden.commands import read_golden
from tests.golden.former_runs import FORMER_COMMANDS, TYPED, again, train_former_command

pytestmark = pytest.mark.slow

GOLDEN = read_golden("runs.json")


@pytest.fixture(scope="session", params=list(TYPED))
def former(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Evaluate an earlier run and resume it, on its data set in another place."""
    return request.param, again(request.param)


def assert_close(found: Any, golden: Any) -> None:
    """Compare nested values: numbers to 1e-4, all else exactly."""
    if isinstance(golden, dict):
        assert found.keys() == golden.keys()
        for name in golden:
            assert_close(found[name], golden[name])
    elif isinstance(golden, list):
        assert len(found) == len(golden)
        for ours, wanted in zip(found, golden, strict=True):
            assert_close(ours, wanted)
    elif isinstance(golden, float):
        assert found == pytest.approx(golden, rel=1e-4, abs=1e-4)
    else:
        assert found == golden


def test_an_earlier_run_is_evaluated_to_the_metrics_and_detections_that_it_had(former):
    name, found = former
    assert_close(found["evaluated"], GOLDEN[name]["evaluated"])
    assert found["evaluated"]["metrics"]["AP"] > 0


def test_an_earlier_run_is_resumed_to_the_numbers_that_it_would_have_logged(former):
    name, found = former
    assert_close(found["resumed"]["numbers"], GOLDEN[name]["resumed"]["numbers"])


@pytest.mark.skipif(os.environ.get("RETINA_GOLDEN_BITWISE") != "1", reason="RETINA_GOLDEN_BITWISE=1 is not set")
def test_an_earlier_run_is_resumed_to_the_same_bits(former):
    name, found = former
    assert found["resumed"]["sha256"] == GOLDEN[name]["resumed"]["sha256"]


@pytest.mark.parametrize("name", FORMER_COMMANDS)
def test_classes_and_settings_are_understood_by_the_names_that_they_had(name, tmp_path):
    assert_close(train_former_command(name, tmp_path), GOLDEN["commands"][name])
