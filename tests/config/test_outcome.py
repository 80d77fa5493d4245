"""How a command ends: messages, exit statuses, and where tracebacks go."""

from __future__ import annotations

import io
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch._utils import ExceptionWrapper

from retina.config.outcome import Outcome, flush_output, print_error
from retina.errors import CheckpointError, ConfigError, DataError, DivergedError, Interrupted

ENDS = [
    (ConfigError("no such setting", fix="another"), 2),
    (DataError("a box of no size"), 2),
    (CheckpointError("damaged"), 3),
    (DivergedError("not finite"), 4),
    (MemoryError(), 5),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 5),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 5),
    (Interrupted("stopped", signal_number=signal.SIGINT), 130),
    (Interrupted("stopped", signal_number=signal.SIGTERM), 143),
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(), 141),
    (SystemExit(0), 0),
    (SystemExit(1), 2),
    (RuntimeError("shapes differ"), 1),
    (KeyError("boo"), 1),
]


@pytest.mark.parametrize(("error", "status"), ENDS, ids=lambda value: repr(value)[:50])
def test_every_end_has_its_exit_status_and_no_traceback(error, status: int, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = Outcome("train")
    with outcome:
        raise error
    assert outcome.exit_status == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_block_that_ends_well_leaves_status_0() -> None:
    outcome = Outcome("train")
    with outcome:
        pass
    assert (outcome.exit_status, outcome.num_failures, outcome.interrupted) == (0, 0, False)


def test_the_first_failure_of_several_jobs_is_the_exit_status() -> None:
    outcome = Outcome("train")
    for error in (DivergedError("x"), ConfigError("y")):
        with outcome:
            raise error
    assert (outcome.exit_status, outcome.num_failures) == (4, 2)


def test_a_signal_is_remembered_so_that_a_sweep_ends() -> None:
    outcome = Outcome("train")
    with outcome:
        raise Interrupted("stopped", signal_number=signal.SIGTERM)
    assert outcome.interrupted


def test_a_bug_is_told_with_the_file_of_its_traceback(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Outcome("train"):
        raise KeyError("boo")
    told = capsys.readouterr().err
    assert told.startswith("error: KeyError: 'boo'\nwhy:   this is a bug of retina")
    file = re.search(r"traceback in (\S+)", told)
    assert file is not None
    assert "Traceback (most recent call last)" in Path(file[1]).read_text(encoding="utf-8")


def test_a_bug_that_a_run_has_kept_in_its_log_is_told_with_the_log(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error = KeyError("boo")
    error.log_file = tmp_path / "train.log"
    with Outcome("train"):
        raise error
    assert f"with the traceback in {tmp_path / 'train.log'}" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_bug_in_a_loader_s_process_is_told_by_its_last_line(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        raise ValueError("bad shape")
    except ValueError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with Outcome("train"):
        wrapped.reraise()
    assert capsys.readouterr().err.startswith("error: ValueError: ValueError: bad shape\n")


def test_what_every_rank_knows_is_printed_by_the_first_only(capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    print_error(ConfigError("a mistake"))
    assert capsys.readouterr().err == ""
    print_error(DataError("an image of this rank"))
    assert capsys.readouterr().err == "[rank 1] error: an image of this rank\n"


def test_a_closed_terminal_changes_nothing(monkeypatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    outcome = Outcome("train")
    with outcome:
        raise ConfigError("a mistake")
    assert outcome.exit_status == 2


def test_flushing_to_a_listening_reader_is_status_0() -> None:
    assert flush_output() == 0
