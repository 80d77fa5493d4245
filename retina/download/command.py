"""download: choose the archives, bring them, say how to train on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retina.commands.assemble import Sections
from retina.download.catalogue import CATALOGUE, chosen_archives
from retina.download.download import Downloader
from retina.errors import ConfigError
from retina.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The scalars of configs/download.yaml, which says what they mean."""

    root: str | None
    parts: Sequence[str] | None
    year: Literal[2007, 2012]
    keep_archives: bool
    retries: Count


def run(settings: Settings, sections: Sections) -> None:
    """Download what ``dataset``, ``year`` and ``parts`` name into ``root``."""
    name = sections.get("dataset", {}).get("name")
    if name is None:
        raise ConfigError("dataset must be given: what to download", fix="dataset=coco, or dataset=voc")
    archives = chosen_archives(name, year=settings.year, parts=settings.parts)
    root = Path(settings.root or f"data/{name}").expanduser()
    Downloader(root, retries=settings.retries, keep_archives=settings.keep_archives)(archives)
    print(f"in {root}:\n  python train.py {_opened_by(name, root, settings.year)}")


def _opened_by(name: str, root: Path, year: int) -> str:
    if name == "coco":
        return f"dataset=coco dataset.root={root}"
    known = f"dataset=voc dataset.root={root / 'VOCdevkit' / f'VOC{year}'}"
    has_test = any(archive.part == "test" for archive in CATALOGUE[f"voc{year}"])
    return f"{known} dataset.train=trainval dataset.val=test" if has_test else known
