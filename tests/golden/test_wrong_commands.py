"""Wrong commands tell what they told, word for word, and exit as they did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.commands import read_golden
from tests.golden.wrong_commands import EARLY, LATE, prepare, told

GOLDEN = read_golden("wrong_commands.json")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the commands look for."""
    folder = tmp_path_factory.mktemp("wrong").resolve() / "work"
    prepare(folder)
    return folder


def test_every_golden_message_has_its_command() -> None:
    assert [" ".join(command) for command in [*EARLY, *LATE]] == list(GOLDEN)
    assert len(GOLDEN) >= 40


@pytest.mark.parametrize("command", EARLY, ids=" ".join)
def test_a_mistake_is_told_word_for_word(command, folder) -> None:
    assert told(command, folder) == GOLDEN[" ".join(command)]


@pytest.mark.slow
@pytest.mark.parametrize("command", LATE, ids=" ".join)
def test_a_mistake_in_files_is_told_word_for_word(command, folder) -> None:
    assert told(command, folder) == GOLDEN[" ".join(command)]
