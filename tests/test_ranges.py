"""Ranges by themselves, and where a class or a function holds those of its own signature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from retina import ranges
from retina.ranges import (
    Above,
    Above0,
    AtLeast,
    AtMost,
    Between,
    Count,
    Excludes,
    IsInterval,
    IsLength,
    Matches,
    Needs,
    NotEmpty,
    OrElse,
    Share,
    checked,
    length_in_images,
    outside,
)

BESIDE = {"low": 3, "high": 5, "nothing": None, "something": "x"}
HOLDS = [
    (AtLeast(0), [0, 1, 1e9], [-1e-9, -1, math.inf, math.nan]),
    (AtLeast("low"), [3, 4], [2.9]),
    (AtLeast("nothing"), [-100], []),
    (AtMost(1), [1, 0, -5], [1.1]),
    (AtMost("high"), [5], [6]),
    (Above(0), [1e-9], [0, -1, math.inf, math.nan]),
    (Between(0, 1), [0, 0.5, 1], [-0.1, 1.1, math.nan]),
    (Between(0, 1, "low"), [0.1, 1], [0]),
    (Between(0, 1, "high"), [0, 0.9], [1]),
    (Between(0, 1, "both"), [0.5], [0, 1]),
    (IsLength(), [0, 0.5, 16000, "2epoch", "0.5 epochs"], [-1, "soon", "-2epoch", math.nan, math.inf, True]),
    (IsLength(from_end=True), [0.85, "-2epoch", "10epoch", 16000], ["-2", "-2days", -0.1]),
    (IsInterval(), [0, 20, "1epoch", " 20 ", "0.5 epochs"], [-1, True, 2.5, "0epoch", "epoch", "-1epoch", "", "²"]),
    (Matches("[a-z]+", "small letters"), ["abc"], ["aBc", "", "ab\n"]),
    (Needs("something"), ["y"], []),
    (Needs("nothing"), [], ["y"]),
    (Excludes("nothing", "why"), ["y"], []),
    (Excludes("something", "why"), [], ["y"]),
    (OrElse("something", "else"), [None, "y"], []),
    (OrElse("nothing", "else"), ["y"], [None]),
]


@pytest.mark.parametrize(("allowed", "inside", "outer"), HOLDS, ids=lambda value: repr(value)[:40])
def test_a_range_holds_what_is_inside_and_tells_what_is_outside(allowed, inside, outer):
    assert [value for value in inside if outside("a.b", value, [allowed], BESIDE)] == []
    assert [value for value in outer if len(outside("a.b", value, [allowed], BESIDE)) != 1] == []


@pytest.mark.parametrize(
    ("allowed", "value", "sentence"),
    [
        (AtLeast(1), 0, "a.b must be at least 1, got 0"),
        (AtLeast("low"), 2, "a.b must be at least a.low (3), got 2"),
        (AtMost("high"), [4, 6], "a.b must be at most a.high (5), got 6 in it"),
        (Above(0), 0, "a.b must be greater than 0, got 0"),
        (Between(0, 1), 2, "a.b must be between 0 and 1, got 2"),
        (Between(0, 1, "low"), 0, "a.b must be greater than 0 and at most 1, got 0"),
        (Between(0, 1, "high"), 1, "a.b must be at least 0 and below 1, got 1"),
        (Between(0, 1, "both"), 1, "a.b must be between 0 and 1, both excluded, got 1"),
        (NotEmpty(), [], "a.b must be a list that is not empty, got []"),
        (IsInterval(), "soon", "a.b must be a number of steps (0 = never) or like '1epoch', got 'soon'"),
        (IsLength(), "soon", "a.b must be images (16000), '2epoch' or a fraction of the run (0.75), got 'soon'"),
        (Matches("[a-z]+", "small letters"), "A", "a.b must be small letters, got 'A'"),
        (Needs("nothing", "because"), "y", "nothing must be given with a.b: because"),
        (Excludes("something", "because"), "y", "something and a.b cannot both be given: because"),
        (OrElse("nothing", "x and y"), None, "a.b must be given, or x and y"),
    ],
)
def test_the_sentence_names_the_setting_what_is_allowed_and_the_value(allowed, value, sentence):
    assert outside("a.b", value, [allowed], BESIDE) == [sentence]


def test_null_and_what_cannot_be_compared_are_left_alone():
    assert outside("a", None, [AtLeast(0), IsLength()], {}) == []
    assert outside("a", ["x", None], [Above(0)], {}) == []
    assert outside("a", None, [OrElse("b", "c")], {}) == ["a must be given, or c"]


@checked
@dataclass(frozen=True)
class Part:
    share: Share
    count: Count = 0
    sides: Sequence[Annotated[int, AtLeast(1), AtMost("most")]] | None = None
    most: Above0 | None = 10
    word: Literal["a", "b"] = "a"


@checked
def function(share: Share, *, more: Annotated[float | None, Between(0, 1, "low")] = None) -> float:
    """Return ``share``."""
    return share


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Part(2), "share must be between 0 and 1, got 2"),
        (lambda: Part(math.nan), "share must be between 0 and 1, got nan"),
        (lambda: Part(0.5, count=-1), "count must be at least 0, got -1"),
        (lambda: Part(0.5, sides=[1, 0]), "sides must be at least 1, got 0 in it"),
        (lambda: Part(0.5, sides=[11]), r"sides must be at most most \(10\), got 11 in it"),
        (lambda: Part(0.5, most=0), "most must be greater than 0, got 0"),
        (lambda: Part(0.5, word="c"), "word must be one of a, b, got 'c'"),
        (lambda: function(-1), "share must be between 0 and 1, got -1"),
        (lambda: function(1, more=0), "more must be greater than 0 and at most 1, got 0"),
    ],
)
def test_a_checked_class_or_function_holds_the_ranges_of_its_signature(make, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        make()


def test_a_checked_class_or_function_is_otherwise_as_it_was():
    assert Part(0.5, sides=[1, 10]) == Part(share=0.5, sides=[1, 10])
    assert (function(0.5), function.__doc__, function.__name__) == (0.5, "Return ``share``.", "function")
    with pytest.raises(TypeError, match="missing"):
        Part()
    with pytest.raises(TypeError, match="unexpected"):
        function(0.5, other=1)


@pytest.mark.parametrize(
    ("value", "images"), [(16000, 16000), ("2epoch", 2000), ("0.5 epochs", 500), (0.75, 6000), (0, 0), (1, 1)]
)
def test_lengths_are_images_epochs_or_a_fraction_of_the_run(value, images):
    assert length_in_images(value, run_images=8000, images_per_epoch=1000, setting="schedule.warmup") == images


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "much", "-1epoch", None])
def test_a_length_that_cannot_be_read_names_the_setting_and_the_value(value):
    with pytest.raises(ValueError, match=r"schedule\.warmup must be images .* got"):
        length_in_images(value, run_images=8000, images_per_epoch=1000, setting="schedule.warmup")


def test_only_epochs_are_read_as_epochs():
    assert [ranges.in_epochs(value) for value in ("2epoch", "1.5 epochs", "2", 2, None)] == [2.0, 1.5, None, None, None]
