"""Signatures read from source agree with those of the imported objects."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from retina.config.signatures import defined_names, read_signature
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.losses.overlap import FocalEIoULoss, GIoULoss
from retina.models.retinanet import build_retinanet
from retina.settings import TrainSettings
from retina.training.optimizers import build_sgd
from retina.training.schedules import MultiStep

TARGETS = [build_retinanet, Assigner, FocalEIoULoss, GIoULoss, MultiStep]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_parameters_are_those_of_the_imported_object(target: object) -> None:
    signature = read_signature(f"{target.__module__}.{target.__name__}")
    assert signature is not None
    imported = inspect.signature(target).parameters
    flat = {"anchors": inspect.signature(AnchorGenerator).parameters}  # its settings stand in the same section
    expected = {name: item for key, own in imported.items() for name, item in flat.get(key, {key: own}).items()}
    assert list(signature.parameters) == list(expected)
    filled = set(signature.parameters) - set(signature.settings)
    for name, parameter in expected.items():
        required = parameter.default is inspect.Parameter.empty and name not in filled
        assert signature.parameters[name].required == required, name


def test_what_the_program_fills_in_is_no_setting() -> None:
    signature = read_signature(f"{build_sgd.__module__}.build_sgd")
    assert set(signature.parameters) - set(signature.settings) == {"model", "batch_size"}


def test_names_that_are_not_there_are_told() -> None:
    with pytest.raises(LookupError, match="there is no FooLoss in retina.detection.losses.box"):
        read_signature("retina.detection.losses.box.FooLoss")
    with pytest.raises(LookupError, match="there is no module retina.detection.loses"):
        read_signature("retina.detection.loses.FooLoss")
    with pytest.raises(LookupError, match="there is no package 'nosuchpackage'"):
        read_signature("nosuchpackage.Thing")
    with pytest.raises(LookupError, match="not the full name"):
        read_signature("Thing")


def test_names_that_another_package_only_re_exports_stay_unknown() -> None:
    assert read_signature("albumentations.HorizontalFlip") is None


def test_a_module_lists_what_it_defines() -> None:
    assert {"L1Loss", "FocalL1Loss"} <= set(defined_names("retina.detection.losses.box"))
    assert not any(name.startswith("_") for name in defined_names("retina.detection.losses.box"))


def test_inherited_and_imported_definitions_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "borrowed_targets"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "base.py").write_text(
        "from dataclasses import dataclass\nfrom typing import Any, ClassVar, Literal\nMode = Literal['a', 'b']\n"
        "@dataclass(frozen=True)\nclass Base:\n    size: int\n    mode: Mode = 'a'\n    known: ClassVar[int] = 3\n"
        "class Plain:\n    def __init__(self, rate: float, *, power: int = 2, **rest: Any) -> None: ...\n"
    )
    (package / "child.py").write_text(
        "from dataclasses import dataclass\nfrom borrowed_targets.base import Base, Plain\n"
        "@dataclass(frozen=True)\nclass Child(Base):\n    depth: int = 1\nclass Other(Plain):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    child = read_signature("borrowed_targets.child.Child")
    other = read_signature("borrowed_targets.child.Other")
    assert child is not None
    assert other is not None
    assert {name: item.required for name, item in child.parameters.items()} == {
        "size": True, "mode": False, "depth": False,
    }  # fmt: skip
    assert not child.parameters["mode"].allowed.accepts("c")
    assert list(other.parameters) == ["rate", "power"]
    assert other.takes_any_name


def test_a_field_of_settings_has_what_its_imported_alias_says() -> None:
    fields = read_signature(f"{TrainSettings.__module__}.TrainSettings").settings
    assert fields["workers"].allowed.accepts(None)
    assert not fields["precision"].allowed.accepts("fp8")
    assert str(fields["batch_size"].allowed.ranges[0]) == "at least 1"
    sections = read_signature("retina.settings.RunSettings").settings
    assert sections["train"].allowed.section.settings.keys() == fields.keys()
