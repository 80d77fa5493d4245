from __future__ import annotations

import pickle

import pytest

from retina.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    Interrupted,
    OutOfMemoryError,
    RetinaError,
    first_five,
)


def test_an_error_is_told_in_three_lines():
    error = DataError(
        "box outside: a.json [annotation 4, image 17 'a.jpg']", why="it has no pixels.", fix="data.fix=true"
    )
    assert str(error) == (
        "error: box outside: a.json [annotation 4, image 17 'a.jpg']\nwhy:   it has no pixels.\nfix:   data.fix=true"
    )


def test_lines_without_content_are_left_out():
    assert str(ConfigError("no such file: a")) == "error: no such file: a"
    assert str(ConfigError("no such file: a", fix="pass b")) == "error: no such file: a\nfix:   pass b"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError, 2), (DataError, 2), (CheckpointError, 3), (DivergedError, 4), (OutOfMemoryError, 5)],
)
def test_each_kind_of_mistake_has_its_exit_status(error, status):
    assert issubclass(error, RetinaError)
    assert error("x").exit_status == status


@pytest.mark.parametrize(("signal_number", "status"), [(2, 130), (15, 143)])
def test_an_interrupted_run_exits_as_the_shell_expects(signal_number, status):
    error = Interrupted("stopped", signal_number=signal_number, fix="resume=runs/a")
    assert error.exit_status == status
    assert str(error) == "error: stopped\nfix:   resume=runs/a"


def test_an_error_keeps_its_reason_and_remedy_on_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(DataError("what", why="why", fix="fix")))
    assert (error.what, error.why, error.fix) == ("what", "why", "fix")


def test_lists_show_five_cases_and_the_total():
    assert first_five([1, 2]) == "1, 2"
    assert first_five(range(5)) == "0, 1, 2, 3, 4"
    assert first_five(["a"] * 6) == "a, a, a, a, a, ... (6 in all)"
    assert first_five([]) == ""
