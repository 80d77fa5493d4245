"""Every setting of every command: values at, inside and outside of its range and of another type.

All of it is read from the signatures, so a class that is added is looked at with the others.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import pytest
import yaml

from retina import ranges
from retina.config.allowed import ANY, Allowed, Parameter, Signature
from retina.config.check import check_nodes, check_settings
from retina.config.compose import CONFIGS, group_options
from retina.config.signatures import read_signature
from tests.jobs import recipe, tree_of

COMMANDS = ("train", "evaluate", "predict", "doctor", "anchors", "loss_lab", "benchmark", "show_batch",
            "convert_dataset", "download")  # fmt: skip
NEEDED = {
    "evaluate": ["ckpt=."], "predict": ["ckpt=.", "source=."], "convert_dataset": ["to=coco", "out=x"],
}  # fmt: skip
SAMPLES: list[Any] = ["no such word", 1.5, -3, True, None, [None], [1, 2], {"a": 1}]  # of every type


class Setting(NamedTuple):
    """A setting, and the smallest configuration that it stands in."""

    path: str
    parameter: Parameter
    tree: dict[str, Any]
    settings: Signature | None  # of the command; None: a target's own

    def mistakes(self, value: Any) -> list[str]:
        """Return what is told of the setting with ``value``."""
        tree = deepcopy(self.tree)
        node: Any = tree
        *sections, name = self.path.split(".")
        for section in sections:
            node = node[int(section)] if isinstance(node, list) else node[section]
        node[name] = value
        told = check_settings(tree, self.settings) if self.settings is not None else check_nodes(tree)
        # A range that names another setting is told of that one too.
        return [mistake.what for mistake in told if mistake.path.startswith(self.path)]

    @property
    def beside(self) -> dict[str, Any]:
        node: Any = self.tree
        for section in self.path.split(".")[:-1]:
            node = node[int(section)] if isinstance(node, list) else node[section]
        return node


def of_commands() -> Iterator[Setting]:
    """Yield the scalars of every command; of those that have all of training's, their own."""
    training = recipe("train").settings
    for name in COMMANDS:
        settings = recipe(name).settings
        tree = tree_of(name, *NEEDED.get(name, ()))
        for path, parameter in _scalars(settings, tree):
            if name == "train" or path.split(".")[0] not in training.settings:
                yield Setting(path, parameter, tree, settings)


def _scalars(settings: Signature, tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, parameter in settings.settings.items():
        if parameter.allowed.section is not None:
            tree.setdefault(name, {})
            yield from _scalars(parameter.allowed.section, tree[name], f"{path}{name}.")
        else:
            yield f"{path}{name}", parameter


def of_targets() -> Iterator[Setting]:
    """Yield the settings of every class that a file of ``configs/`` names."""
    for path, tree in option_trees():
        for inner, node in _nodes(tree, path):
            signature = read_signature(node["_target_"])
            for name, parameter in signature.settings.items() if signature else ():
                yield Setting(f"{inner}.{name}", parameter, _around(path, tree), None)


def option_trees() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (section, content) of every option, and of what training itself names."""
    base = yaml.safe_load((CONFIGS / "train.yaml").read_text(encoding="utf-8"))
    yield "postprocess", base["postprocess"]
    for group, options in group_options().items():
        for option in options:
            node = yaml.safe_load((CONFIGS / group / f"{option}.yaml").read_text(encoding="utf-8")) or {}
            if "_target_" in node:  # else it changes another option, or is a recipe
                yield group.replace("/", "."), node


def _around(path: str, node: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        node = {name: node}
    return node


def _nodes(tree: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if isinstance(tree, dict) and "_target_" in tree:
        yield path, tree
    for name, value in items:
        yield from _nodes(value, f"{path}.{name}")


def bounds(allowed: ranges.Range, step: float, beside: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return values at and inside of a range, and values outside, by hand for each kind of range."""

    def number(bound: Any) -> Any:
        return beside.get(bound) if isinstance(bound, str) else bound

    match allowed:
        case ranges.AtLeast(low) if number(low) is not None:
            return [number(low), number(low) + step], [number(low) - step]
        case ranges.AtMost(high) if number(high) is not None:
            return [number(high)], [number(high) + step]
        case ranges.Above(low):
            return [low + step], [low, low - step]
        case ranges.Between(low, high, ends):
            inside = [low + step, high - step]
            outside = [low - step, high + step]
            (outside if ends in ("low", "both") else inside).append(low)
            (outside if ends in ("high", "both") else inside).append(high)
            return inside, outside
        case ranges.IsLength(from_end):
            more = ["-2epoch"] if from_end else []
            return [0, 16000, 0.5, "2epoch", *more], [-1, "soon", *([] if from_end else ["-2epoch"])]
        case ranges.IsInterval():
            return [0, 3, "1epoch"], [-1, "soon", "0epoch"]
        case ranges.NotEmpty():
            return [], [[]]
        case ranges.Matches():
            return [], ["a/b", "#"]
    return [], []  # of two settings: by hand in test_values.py


def cases(setting: Setting) -> tuple[list[Any], list[Any]]:
    """Return values that pass and values that are told."""
    allowed = setting.parameter.allowed
    inside, outside = [], []
    accepts = [value for value in SAMPLES if _fits(allowed, value)]
    refused = [value for value in SAMPLES if not _fits(allowed, value)]
    whole_numbers = not allowed.accepts(0.5) and not _list_of(allowed, 0.5)
    for each in allowed.ranges:
        within, beyond = bounds(each, 1 if whole_numbers else 2.0**-10, setting.beside)
        inside += within
        outside += beyond
    inside = [value for value in inside if all(_holds(each, value, setting.beside) for each in allowed.ranges)]
    if not any(allowed.accepts(value) for value in inside + outside if not isinstance(value, list)):
        length = next((n for n in range(1, 6) if _accepts_list(allowed, n)), 1)
        inside, outside = ([[value] * length for value in values if not isinstance(value, list)] + [
            value for value in values if isinstance(value, list)] for values in (inside, outside))  # fmt: skip
    if not allowed.ranges:
        inside += accepts
    if None in accepts and None not in inside and not any(each.judges_null for each in allowed.ranges):
        inside.append(None)
    return [value for value in inside if _fits(allowed, value)], outside + refused


def _fits(allowed: Allowed, value: Any) -> bool:
    """Return whether the type of a value, and of what is in it, is one of those that are allowed."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return allowed.accepts(value) and all(allowed.item is None or allowed.item.accepts(item) for item in items)


def _holds(each: ranges.Range, value: Any, beside: dict[str, Any]) -> bool:
    try:
        return each.holds(value, beside)
    except TypeError:
        return False


def _list_of(allowed: Allowed, item: Any) -> bool:
    return allowed.item is not None and allowed.item.accepts(item)


def _accepts_list(allowed: Allowed, length: int) -> bool:
    return allowed.accepts([1] * length)


def _unique(settings: Iterator[Setting]) -> list[Setting]:
    """Return the settings once for each path and class."""
    found: dict[tuple[str, str], Setting] = {}
    for setting in settings:
        target = "" if setting.settings else setting.beside["_target_"]
        found.setdefault((target or setting.path, setting.parameter.name), setting)
    return list(found.values())


SETTINGS = [*_unique(of_commands()), *_unique(of_targets())]


def test_every_command_and_every_class_is_looked_at() -> None:
    targets = {setting.beside["_target_"] for setting in SETTINGS if setting.settings is None}
    named = {node["_target_"] for path, tree in option_trees() for _, node in _nodes(tree, path)}
    without = {target for target in named - targets if not target.startswith("albumentations.")}
    assert all(not read_signature(target).settings for target in without)
    assert len(targets) >= 45
    assert len(SETTINGS) >= 250
    paths = {setting.path for setting in SETTINGS}
    assert {"train.batch_size", "fit.goal", "doctor.images", "retries", "to", "benchmark.repeats", "least_side",
            "score_threshold", "postprocess.nms_iou", "anchors.offset", "schedule.gamma"} <= paths  # fmt: skip


def test_almost_every_setting_says_what_it_may_be() -> None:
    silent = {setting.path for setting in SETTINGS if setting.parameter.allowed is ANY}
    assert silent == {"model.backbone"}  # a node of its own, which is told from its own signature


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: f"{setting.path} of {_owner(setting)}")
def test_a_value_inside_passes_and_one_outside_is_told_by_the_name_of_the_setting(setting: Setting) -> None:
    inside, outside = cases(setting)
    assert [value for value in inside if setting.mistakes(value)] == []
    untold = [value for value in outside if not any(setting.path in told for told in setting.mistakes(value))]
    assert untold == []
    assert outside or setting.parameter.allowed is ANY


def _owner(setting: Setting) -> str:
    return setting.settings.target if setting.settings else setting.beside["_target_"].rpartition(".")[2]


TARGETS = sorted({setting.beside["_target_"] for setting in SETTINGS if setting.settings is None})


@pytest.mark.parametrize("target", [name for name in TARGETS if name.startswith("retina.")])
def test_a_class_with_ranges_holds_them_where_it_is_built_in_python(target: str) -> None:
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    ranged = [item for item in read_signature(target).settings.values() if item.allowed.ranges]
    function = found if inspect.isfunction(found) else found.__init__
    assert not ranged or hasattr(function, "__wrapped__"), "it lacks the decorator `checked`"


# Where a file of configs/ gives another value than the class has by itself, and why.
OTHER_DEFAULTS: dict[tuple[str, str], str] = {
    ("BoxLoss", "weight"): "by itself, and as a term of a sum, a loss is not weighed; its file makes up for its scale",
    **{("CocoFolder", name): "each file is another data set" for name in ("root", "train", "val", "test")},
    **{("ResNet", name): "each file is another network" for name in ("depth", "groups", "width_per_group")},
    ("ResNet", "frozen_stages"): "the files begin with weights; a network of random ones trains all of itself",
    **{("ColorMatrix", name): "each augmentation has its own strength" for name in
       ("brightness", "contrast", "saturation", "hue", "p")},
    **{("ScaleCrop", name): "each augmentation has its own strength" for name in ("scale", "p")},
}  # fmt: skip


def test_the_defaults_of_a_class_are_those_of_the_configuration_that_names_it() -> None:
    differing: dict[tuple[str, str], str] = {}
    for path, tree in option_trees():
        for inner, node in _nodes(tree, path):
            for name, value in _defaults(node["_target_"]) if node["_target_"].startswith("retina.") else ():
                if name in node and _plain(value) != node[name]:
                    owner = "BoxLoss" if (path, name) == ("loss.box", "weight") else node["_target_"].rpartition(".")[2]
                    differing[owner, name] = f"{inner}.{name} is {node[name]} in a file, {value} in {node['_target_']}"
    assert [text for key, text in differing.items() if key not in OTHER_DEFAULTS] == []
    assert set(OTHER_DEFAULTS) - set(differing) == set(), "these do not differ any more"


def _defaults(target: str) -> Iterator[tuple[str, Any]]:
    module, _, name = target.rpartition(".")
    for key, parameter in inspect.signature(getattr(importlib.import_module(module), name)).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            yield key, parameter.default


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
