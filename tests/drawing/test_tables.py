from __future__ import annotations

import io

import pytest

from retina.drawing.tables import format_table, one_line, progress


def test_words_stand_left_numbers_right_below_a_title_and_a_rule():
    text = format_table("results", ["class", "AP", "boxes"], [["platelets", 0.5, 7], ["RBC", None, 1234]])
    assert text.splitlines() == [
        "results",
        "class          AP  boxes",
        "------------------------",
        "platelets  0.5000      7",
        "RBC             -   1234",
    ]


def test_title_and_rule_may_be_left_out_and_letters_may_be_two_columns_wide():
    text = format_table("", ["class", "n"], [["猫", 1], ["cat", 22]], rule=False)
    assert text.splitlines() == ["class   n", "猫      1", "cat    22"]
    assert format_table("", ["a", "bbb"], [[1, 2]], num_left=0, rule=False) == "a  bbb\n1    2"


def test_a_row_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match=r"the table has 2 columns, a row has 1: \['RBC'\]"):
        format_table("results", ["class", "AP"], [["RBC"]])


def test_a_name_that_would_break_the_line_is_shown_without_it():
    assert one_line("a\nb\x1b[1m猫") == "a?b?[1m猫"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("in_bytes", "note", "shown"), [(False, False, "3/8"), (True, False, "3/8 bytes"), (False, True, "much")]
)
def test_a_bar_shows_how_far_it_is_and_leaves_nothing_behind(monkeypatch, in_bytes, note, shown):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with progress("train boxes", 8, stream=stream, in_bytes=in_bytes, note=note) as bar:
        bar.to(3)
        bar.update(bar.task, note="much")
        bar.below.plain = "loss 0.5"
        bar.refresh()
    text = stream.getvalue()
    assert "train boxes" in text
    assert shown in text
    assert "loss 0.5" in text


def test_in_a_pipe_no_bar_is_drawn():
    stream = io.StringIO()
    with progress("train boxes", 8, stream=stream) as bar:
        bar.to(8)
    assert stream.getvalue().strip() == ""
