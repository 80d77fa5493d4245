"""The files of configs/: every one composes, fits the code, and says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from retina.config.check import check_nodes
from retina.config.compose import CONFIGS, compose_config, group_options, to_plain
from retina.config.signatures import read_signature
from tests.jobs import mistakes_in

FILES = sorted(CONFIGS.rglob("*.yaml"))
OPTIONS = [(group, option) for group, options in group_options().items() for option in options]


def _targets(node: object) -> list[str]:
    if isinstance(node, dict):
        inner = [target for value in node.values() for target in _targets(value)]
        return [node["_target_"], *inner] if "_target_" in node else inner
    if isinstance(node, list):
        return [target for value in node for target in _targets(value)]
    return []


def test_every_file_was_looked_at() -> None:
    assert len(FILES) >= 35
    assert len(OPTIONS) == len(FILES) - len([*CONFIGS.glob("*.yaml")])
    assert {group for group, _ in OPTIONS} == {
        "anchors", "augment", "dataset", "experiment", "loss/box", "loss/classification", "model", "optimizer",
        "recipe", "sampling", "schedule",
    }  # fmt: skip


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_every_option_composes_without_a_mistake(group: str, option: str) -> None:
    composed = compose_config("train", [f"{group}={option}"])
    assert composed.choices[group] == option
    told = mistakes_in("train", to_plain(composed.config)[0])
    if (group, option) == ("dataset", "custom"):  # its paths are the user's to give
        assert len(told) == 1
        assert "dataset.train.images" in told[0]
    else:
        assert told == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_file_begins_with_its_command(file: Path) -> None:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line != "# @package _global_"]
    assert lines[0].startswith(("# python train.py", "# python evaluate.py", "# python tools/"))
    assert lines[1].startswith("#")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_target_of_the_project_exists_and_takes_the_keys(file: Path) -> None:
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    for target in _targets(tree):
        assert read_signature(target) is not None or not target.startswith("retina.")
    section = file.parent.relative_to(CONFIGS).as_posix().replace("/", ".")
    prefix = "" if section in (".", "recipe", "experiment") else section
    settings = read_signature("retina.settings.RunSettings")
    assert [mistake.what for mistake in check_nodes(tree, settings, prefix)] == []


def test_targets_were_found_in_most_files() -> None:
    found = [target for file in FILES for target in _targets(yaml.safe_load(file.read_text(encoding="utf-8")))]
    assert len(found) >= 25
    assert sum(target.startswith("retina.") for target in found) >= 22
