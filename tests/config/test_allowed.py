"""What annotations allow, checked against values by hand."""

from __future__ import annotations

import ast
import math

import pytest

from retina.config.allowed import ANY, Allowed, read_allowed, shown, violations
from retina.ranges import FILLED

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


def allowed(annotation: str, lookup=lambda name: None) -> Allowed:
    return read_allowed(ast.parse(annotation, mode="eval").body, lookup)


@pytest.mark.parametrize(("annotation", "value"), ACCEPTED)
def test_values_of_the_kind_are_accepted(annotation: str, value: object) -> None:
    assert list(violations("section.name", value, allowed(annotation), {})) == []


@pytest.mark.parametrize(("annotation", "value", "text"), REFUSED)
def test_values_of_another_kind_are_named_with_what_is_allowed(annotation: str, value: object, text: str) -> None:
    ((path, sentence),) = violations("section.name", value, allowed(annotation), {})
    assert path == "section.name"
    assert sentence.startswith("section.name must be ")
    assert text in sentence


def test_a_wrong_value_inside_a_mapping_is_named_by_its_own_path() -> None:
    found = list(violations("model.backbone", {"depth": "fifty", "groups": 1}, allowed("Mapping[str, int]"), {}))
    assert found == [("model.backbone.depth", "model.backbone.depth must be a whole number, got 'fifty'")]


def test_an_alias_stands_for_its_kind() -> None:
    precision = {"Precision": allowed("Literal['bf16', 'auto']")}
    assert not allowed("Precision | None", precision.get).accepts("fp8")
    assert allowed("Precision | None", precision.get).accepts("bf16")


@pytest.mark.parametrize(
    ("annotation", "value", "sentence"),
    [
        ("Annotated[float, Above(0)]", -0.1, "greater than 0, got -0.1"),
        ("Annotated[float, Between(0, 1, 'high')]", 1.0, "at least 0 and below 1, got 1.0"),
        ("Annotated[float | None, ranges.Between(low=0, high=1)]", 2, "between 0 and 1, got 2"),
        ("Sequence[Annotated[int, AtLeast(1)]]", [8, 0], "at least 1, got 0 in it"),
        ("Annotated[Sequence[int], NotEmpty()]", [], "a list that is not empty, got []"),
        ("Annotated[int, AtMost('other')]", 9, "at most section.other (5), got 9"),
        ("Annotated[float, Above(0)]", "x", "a number, got 'x'"),
    ],
)
def test_a_range_is_told_after_the_type_fits(annotation: str, value: object, sentence: str) -> None:
    ((path, told),) = violations("section.name", value, allowed(annotation), {"other": 5})
    assert (path, told) == ("section.name", f"section.name must be {sentence}")


def test_marks_are_read_and_are_no_ranges() -> None:
    assert allowed("Annotated[int, FILLED]").marks == (FILLED,)
    assert allowed("Annotated[int, FILLED]").ranges == ()


def test_what_is_not_understood_allows_anything() -> None:
    assert allowed("Callable[[int], str]") is ANY


def test_values_are_shown_as_they_are_typed() -> None:
    assert [shown(value) for value in (None, True, False, "a", 1.5)] == ["null", "true", "false", "'a'", "1.5"]
