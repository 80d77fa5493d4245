"""The kinds of findings: one name each, and what a user needs to go on."""

from __future__ import annotations

from retina.data import catalogue as kinds
from retina.data.coco import kinds as coco_kinds
from retina.data.findings import Kind


def all_kinds() -> list[Kind]:
    return [value for module in (kinds, coco_kinds) for value in vars(module).values() if isinstance(value, Kind)]


def test_names_are_unique_and_can_be_keys():
    names = [kind.name for kind in all_kinds()]
    assert len(names) >= 35
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


def test_errors_say_what_to_do_and_the_others_what_becomes_of_it():
    for kind in all_kinds():
        assert kind.fix if kind.severity == "error" else kind.outcome, kind.name
        assert kind.one != kind.many, kind.name


def test_the_policy_covers_boxes_that_leave_and_boxes_that_cannot_be_used():
    assert {
        "box-malformed", "box-not-finite", "box-without-size", "box-outside", "box-leaves-image",
    } == kinds.BY_POLICY  # fmt: skip
