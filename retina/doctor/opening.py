"""Opening a split for examination: as far as it can be opened, with everything that speaks against it."""

from __future__ import annotations

from retina.data.folders import DataFolder, Opened

__all__ = ["Opened", "open_split"]


def open_split(folder: DataFolder, split: str) -> Opened:
    """Return what could be opened of ``split`` and all findings of its annotations, errors included."""
    return folder.inspect(split)
