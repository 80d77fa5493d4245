"""Building what a configuration names."""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from retina.build import build
from retina.detection.anchors import AnchorGenerator
from retina.detection.losses.box import L1Loss
from retina.errors import ConfigError, DataError

FLIP = "albumentations.HorizontalFlip"
OWN = """
from dataclasses import dataclass

from retina.errors import DataError


@dataclass
class Part:
    size: int = 1
    inner: object = None

    @classmethod
    def of(cls, size):
        return cls(size)

    class Smaller:
        pass


class Broken:
    def __init__(self, error):
        raise {"value": ValueError("not this\\n  one"), "type": TypeError("no"), "data": DataError("bad image"),
               "key": KeyError("a bug"), "exit": SystemExit(3)}[error]


def missing():
    from own_parts import nothing


number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own on the path."""
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_parts"


@pytest.mark.parametrize("value", [None, 3, 0.5, "text", True])
def test_plain_values_stay_as_they_are(value):
    assert build(value) is value


def test_lists_and_mappings_are_built_item_by_item():
    loss = {"_target_": "retina.detection.losses.box.L1Loss"}
    built = build({"a": [loss, 3, {"deep": loss}], "b": {"c": loss}, "d": ()})
    assert [type(built["a"][0]), built["a"][1], type(built["a"][2]["deep"])] == [L1Loss, 3, L1Loss]
    assert isinstance(built["b"]["c"], L1Loss)
    assert built["d"] == []
    assert [flip.p for flip in build([{"_target_": FLIP, "p": p} for p in (0.25, 1.0)])] == [0.25, 1.0]


def test_what_is_inside_a_node_is_built_first(own):
    outer = build({"_target_": f"{own}.Part", "size": 2, "inner": [{"_target_": f"{own}.Part", "size": 3}]})
    assert (outer.size, outer.inner[0].size) == (2, 3)


def test_what_the_program_adds_takes_the_place_of_the_node_s_values():
    assert build({"_target_": "collections.Counter", "a": 1, "b": 2}, b=5, c=6) == Counter(a=1, b=5, c=6)


def test_a_partial_still_takes_arguments_and_builds_what_is_inside_once():
    made = build({"_target_": "retina.detection.losses.box.SmoothL1Loss", "_partial_": True, "beta": 0.5}, weight=2.0)
    assert isinstance(made, partial)
    assert (made().beta, made(weight=3.0).weight) == (0.5, 3.0)


def test_positional_arguments_are_built_too():
    assert build({"_target_": "collections.OrderedDict", "_args_": [[["a", 1]]], "b": 2}) == OrderedDict(a=1, b=2)


@pytest.mark.parametrize("target", ["Part", "Part.of", "Part.Smaller"])
def test_classes_of_the_user_s_own_their_methods_and_their_members_are_found(own, target):
    node: dict[str, Any] = {"_target_": f"{own}.{target}"} | ({"size": 4} if target == "Part.of" else {})
    assert type(build(node)).__module__ == own


@pytest.mark.parametrize("words", [{}, {"strides": [8, 16], "base_scale": 2.0}])
def test_settings_of_an_inner_object_may_stand_beside_those_of_the_outer(words):
    node = {"_target_": "retina.detection.assign.Assigner", "positive_iou": 0.6}
    assigner = build({**node, **words})
    assert (assigner.anchors, assigner.positive_iou) == (AnchorGenerator(**words), 0.6)
    assert build(node, anchors=AnchorGenerator(offset=0.5)).anchors.offset == 0.5


def test_a_former_name_is_built_by_the_present_one():
    assert type(build({"_target_": "retina.detection.losses.box.GIoULoss"})).__module__.endswith("overlap")


@pytest.mark.parametrize(
    ("node", "name", "why"),
    [
        ({"_target_": "retina.nowhere.X"}, "retina.nowhere.X", "there is no nowhere in retina"),
        ({"_target_": "nowhere_at_all.X"}, "nowhere_at_all.X", "No module named 'nowhere_at_all'"),
        ({"_target_": "retina.detection.losses.box.X"}, "losses.box.X", "there is no X in retina.detection.losses.box"),
        ({"_target_": "own_parts.number"}, "own_parts.number", "own_parts.number is no class or function"),
        ({"_target_": "own_parts.missing"}, "own_parts.missing", "cannot import name 'nothing'"),
        ({"_target_": "Part"}, "Part", ""),
        ({"_target_": "own_parts.Part", "sise": 3}, "own_parts.Part", "unexpected keyword argument 'sise'"),
        ({"_target_": "own_parts.Broken"}, "own_parts.Broken", "missing 1 required positional argument"),
        ({"_target_": "own_parts.Broken", "error": "value"}, "own_parts.Broken", "not this one"),
        ({"_target_": "own_parts.Broken", "error": "type"}, "own_parts.Broken", "no"),
        ({"_target_": "retina.detection.losses.overlap.FocalEIoULoss", "gamma": -1}, "FocalEIoULoss", "got -1"),
        ([{"_target_": FLIP, "p": 7}], "HorizontalFlip", "p Input should be less than"),
        ({"_target_": "own_parts.Part", "inner": {"_target_": "own_parts.Broken", "error": "value"}}, "Broken", "this"),
    ],
)
def test_what_cannot_be_built_is_a_mistake_in_the_configuration(own, node, name, why):
    with pytest.raises(ConfigError, match=rf"{name} cannot be built with these settings") as caught:
        build(node)
    assert why in caught.value.why


def test_what_a_constructor_tells_the_user_passes_as_it_is(own):
    with pytest.raises(DataError, match="^error: bad image$"):
        build({"_target_": f"{own}.Part", "inner": {"_target_": f"{own}.Broken", "error": "data"}})


@pytest.mark.parametrize(("error", "kind"), [("key", KeyError), ("exit", SystemExit)])
def test_nothing_else_is_swallowed(own, error, kind):
    with pytest.raises(kind):
        build({"_target_": f"{own}.Broken", "error": error})
