"""What annotations allow, checked against values by hand."""

from __future__ import annotations

import math

import pytest

from retina.config.kinds import ANY, kind_of, shown, violations

ACCEPTED = [
    ("float", 0.5),
    ("float", 3),
    ("int", 3),
    ("bool", True),
    ("str", "c5"),
    ("None", None),
    ("int | None", None),
    ("Optional[float]", 1.5),
    ("Union[int, str]", "1epoch"),
    ("Literal['c5', 'p5']", "p5"),
    ("list[float]", [1, 2.5]),
    ("Sequence[int]", [8, 16]),
    ("collections.abc.Sequence[int]", [8]),
    ("tuple[float, float]", [0.9, 0.999]),
    ("tuple[int, ...]", [1, 2, 3]),
    ("Mapping[str, int]", {"depth": 50}),
    ("Path", "runs/mine"),
    ("'int | None'", 4),
    ("AnchorGenerator", object()),
    ("int | AnchorGenerator", "anything"),
]
REFUSED = [
    ("float", "fast", "a number"),
    ("float", math.nan, "a number"),
    ("float", math.inf, "a number"),
    ("float", True, "a number"),
    ("int", 1.5, "a whole number"),
    ("int", True, "a whole number"),
    ("bool", 1, "true or false"),
    ("str", 5, "a text"),
    ("int | None", "x", "a whole number or null"),
    ("Literal['c5', 'p5']", "c6", "one of c5, p5"),
    ("Literal[1, 2]", True, "one of 1, 2"),
    ("tuple[float, float]", [0.9], "2 of them"),
    ("Sequence[int]", 8, "a list, each a whole number"),
    ("Sequence[int]", [8, 1.5], "got 1.5 in it"),
    ("Sequence[float | str]", [[1]], "in it"),
]


@pytest.mark.parametrize(("annotation", "value"), ACCEPTED)
def test_values_of_the_kind_are_accepted(annotation: str, value: object) -> None:
    assert list(violations("section.name", value, kind_of(annotation))) == []


@pytest.mark.parametrize(("annotation", "value", "text"), REFUSED)
def test_values_of_another_kind_are_named_with_what_is_allowed(annotation: str, value: object, text: str) -> None:
    ((path, sentence),) = violations("section.name", value, kind_of(annotation))
    assert path == "section.name"
    assert sentence.startswith("section.name must be ")
    assert text in sentence


def test_a_wrong_value_inside_a_mapping_is_named_by_its_own_path() -> None:
    found = list(violations("model.backbone", {"depth": "fifty", "groups": 1}, kind_of("Mapping[str, int]")))
    assert found == [("model.backbone.depth", "model.backbone.depth must be a whole number, got 'fifty'")]


def test_an_alias_stands_for_its_kind() -> None:
    precision = kind_of("Literal['bf16', 'auto']")
    assert not kind_of("Precision | None", {"Precision": precision}).accepts("fp8")
    assert kind_of("Precision | None", {"Precision": precision}).accepts("bf16")


def test_what_is_not_understood_allows_anything() -> None:
    assert kind_of("Callable[[int], str]") is ANY


def test_values_are_shown_as_they_are_typed() -> None:
    assert [shown(value) for value in (None, True, False, "a", 1.5)] == ["null", "true", "false", "'a'", "1.5"]
