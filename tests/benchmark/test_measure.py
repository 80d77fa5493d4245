"""Seconds, memory and the report."""

from __future__ import annotations

import json
import os
import re
from functools import partial

import pytest
import torch

from retina.benchmark.measure import Timing, alternate, describe_machine, markdown_table, peak_memory, report

MIB = 2**20
PEAK_IS_TOLD = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")


def test_median_and_spread_of_four_calls() -> None:
    timing = Timing((4.0, 1.0, 2.0, 3.0))
    assert timing.median == 2.5
    assert timing.spread == 4.0


def test_contestants_are_called_in_turn_and_the_first_rounds_are_not_counted() -> None:
    calls: list[str] = []
    timings = alternate({name: partial(calls.append, name) for name in "AB"}, repeats=3, warmup=2)
    assert "".join(calls) == "AB" * 5
    assert [len(timings[name].seconds) for name in "AB"] == [3, 3]


def test_each_call_is_timed_on_its_own(monkeypatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 100.0, 101.5, 200.0, 204.0])
    monkeypatch.setattr("retina.benchmark.measure.time.perf_counter", lambda: next(clock))
    timings = alternate({"A": int, "B": int}, repeats=2, warmup=0)
    assert timings == {"A": Timing((1.0, 1.5)), "B": Timing((2.0, 4.0))}


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1 and warmup at least 0, got 0 and 2"):
        alternate({"A": int}, repeats=0)


@PEAK_IS_TOLD
def test_memory_above_rest_is_that_of_what_the_call_makes_for_a_while() -> None:
    # prepare() returns a call that makes 64 MiB of ones, touched, and lets them go.
    rise = peak_memory(partial, torch.ones, 16 * MIB)
    assert rise == pytest.approx(64, abs=4)
    assert "MALLOC_ARENA_MAX" not in os.environ


@PEAK_IS_TOLD
def test_what_stays_after_the_first_call_counts_as_rest() -> None:
    kept = torch.zeros(16 * MIB)  # handed over to the other process, where the first call touches it
    assert peak_memory(partial, kept.add_, 1.0) == pytest.approx(0, abs=4)


def test_a_mistake_in_the_other_process_is_told_here() -> None:
    with pytest.raises(ZeroDivisionError):
        peak_memory(partial, divmod, 1, 0)


def test_without_proc_the_figure_is_left_out(monkeypatch, tmp_path) -> None:
    from retina.benchmark import measure

    monkeypatch.setattr(measure, "_STATUS", tmp_path / "nowhere")
    assert measure._rise(partial, (int,), torch.get_num_threads()) is None


def test_the_table_has_a_column_for_every_name() -> None:
    table = markdown_table([{"who": "ours", "ms": 3.14159}, {"who": "theirs", "ms": 12345.6, "MiB": None}])
    assert table.splitlines() == [
        "| who    | ms    | MiB |",
        "|--------|-------|-----|",
        "| ours   | 3.142 |     |",
        "| theirs | 12346 | -   |",
    ]


def test_the_report_names_machine_date_commit_and_command(capsys, tmp_path) -> None:
    report("subject", [{"who": "ours", "ms": 3.5}], notes=["One note."], folder=tmp_path / "new", save=True)
    shown = capsys.readouterr().out
    (text,) = (tmp_path / "new").glob("*.md")
    (kept,) = (tmp_path / "new").glob("*.json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-subject", text.stem)
    assert text.read_text() in shown
    version = torch.__version__.split("+")[0]
    for expected in ("| ours | 3.5 |", "* One note.", f"torch {version}", "threads", "command: python"):
        assert expected in shown
    loaded = json.loads(kept.read_text())
    assert loaded["rows"] == [{"who": "ours", "ms": 3.5}]
    assert loaded["machine"] == describe_machine()


def test_the_report_is_saved_only_where_the_command_line_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sys.argv", ["script.py"])
    report("subject", [{"ms": 1.0}], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("sys.argv", ["script.py", "--save"])
    report("subject", [{"ms": 1.0}], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_subject_that_is_no_file_name_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="subject must consist of letters"):
        report("../x", [], folder=tmp_path)
