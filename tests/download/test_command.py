"""What ``tools/download.py`` chooses and prints; the downloading itself is tested beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina.config.command import call_command
from retina.download import command as module
from retina.errors import ConfigError


@pytest.fixture
def asked(monkeypatch):
    """Take the place of the downloader and remember what it was asked for."""
    calls = []

    class Remembering:
        def __init__(self, root: Path, **settings) -> None:
            self.root, self.settings = root, settings

        def __call__(self, archives) -> None:
            calls.append((self.root, [archive.part for archive in archives], self.settings["retries"]))

    monkeypatch.setattr(module, "Downloader", Remembering)
    return calls


def test_all_parts_go_into_the_default_folder(asked, capsys):
    call_command("download", ["dataset=coco"])
    assert asked == [(Path("data/coco"), ["annotations", "val", "train"], 8)]
    assert "python train.py dataset=coco dataset.root=data/coco" in capsys.readouterr().out


def test_parts_years_and_folders_are_chosen(asked, capsys):
    call_command("download", ["dataset=voc", "year=2007", "root=/x", "parts=[test]", "retries=2"])
    assert asked == [(Path("/x"), ["test"], 2)]
    shown = capsys.readouterr().out
    assert "dataset.root=/x/VOCdevkit/VOC2007 dataset.train=trainval dataset.val=test" in shown


def test_mistakes_are_told(asked):
    with pytest.raises(ConfigError, match="dataset must be given"):
        call_command("download", [])
    with pytest.raises(ConfigError, match="year must be one of 2007, 2012, got 2010"):
        call_command("download", ["dataset=voc", "year=2010"])
    assert asked == []
