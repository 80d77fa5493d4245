"""download: choose the archives, show how far they are, say how to train on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

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
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        def stage(what: str, size: int) -> Callable[[int], object]:
            if not console.is_terminal:  # in a pipe a line has to do
                say(f"{what}, {size:,} bytes")
            task = progress.add_task(what, total=size)
            return lambda done: progress.update(task, completed=done)

        Downloader(root, retries=settings.retries, keep_archives=settings.keep_archives, say=say, stage=stage)(archives)
    print(f"in {root}:\n  python train.py {_command(name, root, settings.year)}")


def _command(name: str, root: Path, year: int) -> str:
    if name == "coco":
        return f"dataset=coco dataset.root={root}"
    known = f"dataset=voc dataset.root={root / 'VOCdevkit' / f'VOC{year}'}"
    has_test = any(archive.part == "test" for archive in CATALOGUE[f"voc{year}"])
    return f"{known} dataset.train=trainval dataset.val=test" if has_test else known
