"""The public settings: what ``--cfg job`` shows for every data set, recipe, experiment, group option and command."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.commands import flat, read_golden
from tests.golden.settings import shown

GOLDEN = read_golden("settings.json")
NAMES = read_golden("former_names.json")


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings with the names that classes and settings have now."""
    return {
        NAMES["settings"].get(path, path): NAMES["targets"].get(value, value) if path.endswith("_target_") else value
        for path, value in settings.items()
    }


def assert_same_settings(found: Any, golden: Any) -> None:
    """Compare two configurations setting by setting; a declared new name is no difference."""
    found, golden = flat(found), renamed(flat(golden))
    assert golden.keys() - found.keys() == set(), "settings were lost, or renamed without an entry in former_names.json"
    assert found.keys() - golden.keys() == set(), "settings that the golden file does not have: run make.py settings"
    assert found == golden


@pytest.mark.parametrize("command", GOLDEN)
def test_a_command_has_the_settings_and_defaults_that_it_had(command, tmp_path):
    assert_same_settings(shown(command.split(" "), tmp_path), GOLDEN[command])


def test_a_moved_class_and_a_renamed_setting_are_no_difference_once_they_are_declared(monkeypatch):
    monkeypatch.setitem(NAMES["targets"], "retina.a.Loss", "retina.b.Loss")
    monkeypatch.setitem(NAMES["settings"], "loss.old", "loss.new")
    golden = {"loss": {"_target_": "retina.a.Loss", "old": 1}}
    assert_same_settings({"loss": {"_target_": "retina.b.Loss", "new": 1}}, golden)
    with pytest.raises(AssertionError, match="renamed without an entry"):
        assert_same_settings({"loss": {"_target_": "retina.b.Loss", "newer": 1}}, golden)
