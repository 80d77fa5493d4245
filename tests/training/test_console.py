from __future__ import annotations

import io
import re

import pytest

from retina.training import console as console_module
from retina.training.console import Console, format_scalars


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


TRAIN = {
    "train/lr": 0.00125,
    "train/loss": 0.81234567,
    "train/loss_box": 0.3,
    "train/loss_classification": 0.5,
    "train/images_per_second": 31.26,
}
EVAL = {"eval/AP": 0.41234, "eval/AP50": 0.7, "eval/APs": None, "eval/AR1": 0.2, "eval/loss": 0.9, "eval/loss_box": 0.4}


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console_module.time, "monotonic", clock)
    return clock


def make(tmp_path, stream) -> Console:
    return Console(tmp_path / "train.log", num_steps=900, stream=stream)


def log_of(tmp_path) -> list[str]:
    """Lines of train.log without their time."""
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert lines
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in lines]


def test_in_a_pipe_each_log_entry_is_one_plain_line_with_the_names_of_metrics_jsonl(tmp_path):
    stream = io.StringIO()
    console = make(tmp_path, stream)
    console.scalars(120, 3, TRAIN)
    console.scalars(120, 3, EVAL)
    console.close()
    assert stream.getvalue().splitlines() == [
        "step 120/900  epoch 3  train/loss 0.8123  train/loss_classification 0.5  train/loss_box 0.3  "
        "train/lr 0.00125  train/images_per_second 31.3",
        "step 120/900  epoch 3  eval/AP 0.4123  eval/AP50 0.7000  eval/APs -  eval/loss 0.9000",
    ]
    assert log_of(tmp_path) == stream.getvalue().splitlines()


def test_remaining_time_follows_the_pace_and_goes_on_after_a_resume(tmp_path, clock):
    stream = io.StringIO()
    console = make(tmp_path, stream)
    console.scalars(500, 1, TRAIN)  # resumed at 480: the first entry has no pace yet
    clock.now = 40.0
    console.scalars(520, 1, TRAIN)  # 2 seconds a step, 380 steps to go
    console.close()
    first, second = stream.getvalue().splitlines()
    assert "ETA" not in first
    assert second.endswith("ETA 0:12:40")


def test_on_a_terminal_numbers_are_in_the_bar_and_words_above_it(tmp_path, terminal, clock):
    console = make(tmp_path, terminal)
    console.say("[bold] is no markup")
    console.scalars(100, 3, TRAIN)
    clock.now = 40.0
    console.scalars(120, 3, {**TRAIN, "train/grad_norm": 3.21})
    console.scalars(120, 3, EVAL)
    console.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "[bold] is no markup\n" in shown
    assert re.search(r"epoch 3 .+ 120/900 +13% 31\.3 images/s +ETA 0:26:00", shown)
    assert "loss 0.8123  classification 0.5  box 0.3  lr 0.00125  grad_norm 3.21" in shown
    assert "epoch 3  eval/AP 0.4123" in shown
    assert log_of(tmp_path)[2].startswith("step 120/900  epoch 3  train/loss 0.8123")
    written = terminal.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is back"


def test_a_dumb_terminal_gets_plain_lines(tmp_path, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    console = make(tmp_path, terminal)
    console.scalars(1, 0, TRAIN)
    console.close()
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().startswith("step 1/900")


def test_in_a_pipe_single_steps_print_nothing(tmp_path):
    stream = io.StringIO()
    console = make(tmp_path, stream)
    console.advance(1, 0)
    console.close()
    assert stream.getvalue() == ""


def test_a_reader_that_went_away_does_not_end_the_run(tmp_path):
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    console = make(tmp_path, Closed())
    console.say("one")
    console.say("two")
    console.close()
    assert log_of(tmp_path) == ["one", "two"]


def test_names_that_the_terminal_cannot_show_do_not_end_the_run(tmp_path):
    raw = io.BytesIO()
    console = make(tmp_path, io.TextIOWrapper(raw, encoding="ascii"))
    console.say("класс 中")
    console.close()
    assert raw.getvalue() == b"????? ?\n"
    assert log_of(tmp_path) == ["класс 中"]


def test_a_resumed_run_adds_to_the_log(tmp_path):
    for text in ("first", "second"):
        console = make(tmp_path, io.StringIO())
        console.say(text)
        console.close()
    assert log_of(tmp_path) == ["first", "second"]


def test_other_names_are_shown_too():
    assert format_scalars({"train/loss": float("nan"), "train/iou": 0.5}) == "train/loss nan  train/iou 0.5"
    assert format_scalars({"speed": 2.0}) == "speed 2"
