"""What brings images to a run: splits and loaders."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from retina.config import loading
from retina.config.loading import open_split
from retina.errors import DataError


@pytest.mark.parametrize(
    ("is_main", "expected"), [(True, ["open val", "barrier"]), (False, ["barrier", "open val"])], ids=["main", "other"]
)
def test_the_main_rank_opens_a_data_set_first(monkeypatch, is_main, expected):
    happened: list[str] = []
    monkeypatch.setattr(loading.distributed, "is_main", lambda: is_main)
    monkeypatch.setattr(loading.distributed, "barrier", lambda: happened.append("barrier"))
    folder = SimpleNamespace(open=lambda split: happened.append(f"open {split}") or "dataset")
    assert open_split(folder, "val") == "dataset"
    assert happened == expected


def test_the_other_ranks_do_not_wait_for_a_data_set_that_cannot_be_opened(monkeypatch):
    happened: list[str] = []
    monkeypatch.setattr(loading.distributed, "barrier", lambda: happened.append("barrier"))

    def fail(split: str) -> None:
        raise DataError(f"no {split}")

    with pytest.raises(DataError):
        open_split(SimpleNamespace(open=fail), "val")
    assert happened == ["barrier"]
