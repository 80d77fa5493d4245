"""download: choose the archives, bring them part by part, say how to train on them."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retina.commands.assemble import Sections
from retina.download.catalogue import CATALOGUE, Archive, chosen_archives
from retina.download.fetch import Download, fetch
from retina.download.unpack import unpack, unpacked_size
from retina.drawing.tables import progress
from retina.errors import ConfigError, DataError, Interrupted
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
    opened_by = f"dataset.root={root}"
    if name == "voc":
        opened_by = f"dataset.root={root / 'VOCdevkit' / f'VOC{settings.year}'}"
        if any(archive.part == "test" for archive in CATALOGUE[f"voc{settings.year}"]):
            opened_by += " dataset.train=trainval dataset.val=test"
    print(f"in {root}:\n  python train.py dataset={name} {opened_by}")


@dataclass(frozen=True)
class Downloader:
    """Brings archives into a folder and unpacks them there."""

    root: Path
    retries: int = 8
    keep_archives: bool = False
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr)
    wait: Callable[[float], object] = time.sleep  # between two tries

    def __call__(self, archives: Sequence[Archive]) -> None:
        """Download and unpack every one of ``archives`` that is not there yet.

        Raises:
            DataError: there is not room enough, or an archive cannot be had, is another one or cannot be unpacked.
            Interrupted: Ctrl-C; what was downloaded stays.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        missing = []
        for archive in archives:
            mark = self._mark(archive)
            if mark.is_file() and mark.read_bytes().startswith(archive.sha256.encode()):
                self.say(f"{archive.part}: there already ({archive.file_name})")
            else:
                missing.append(archive)
        self._check_room(missing)
        try:
            for archive in missing:
                self._bring(archive)
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped by Ctrl-C; what was downloaded is in {self.root}",
                signal_number=signal.SIGINT,
                fix="the same command resumes where it stopped",
            ) from None

    def _bring(self, archive: Archive) -> None:
        download = self._download(archive)
        if download.num_partial:
            self.say(f"{archive.part}: resuming at {download.num_partial:,} of {archive.size:,} bytes")
        with self._stage(f"download {archive.file_name}", archive.size) as done:
            path = fetch(download, done)
        size = unpacked_size(path)
        self._check_free(size, f"unpack {archive.file_name}")
        with self._stage(f"unpack {archive.file_name}", size) as done:
            names = unpack(path, self.root, done)
        self._mark(archive).write_text(f"{archive.sha256}  {len(names)} files\n", encoding="utf-8")
        if not self.keep_archives:
            path.unlink()
        self.say(f"{archive.part}: {len(names)} files, {size:,} bytes, sha256 as known")

    @contextmanager
    def _stage(self, what: str, size: int) -> Iterator[Callable[[int], object]]:
        """Yield what is to be called with the bytes that are done; in a pipe a line has to do."""
        if not sys.stderr.isatty():
            self.say(f"{what}, {size:,} bytes")
        with progress(what, size, in_bytes=True) as bar:
            yield bar.to

    def _download(self, archive: Archive) -> Download:
        target = self.root / archive.file_name
        return Download(archive.urls, target, archive.size, archive.sha256, self.retries, self.wait)

    def _mark(self, archive: Archive) -> Path:
        """Return the file that says that ``archive`` is unpacked already, and of which sha256 it was."""
        return self.root / f".{archive.file_name}.done"

    def _check_room(self, archives: Sequence[Archive]) -> None:
        """Make sure that all of it fits before the first byte is fetched; one archive at a time is kept."""
        unpacked, most = 0, 0
        for archive in archives:
            rest = max(0, archive.size - self._download(archive).num_bytes)
            most = max(most, unpacked + rest + archive.unpacked)
            unpacked += archive.unpacked + (archive.size if self.keep_archives else 0)
        self._check_free(most, "download and unpack")

    def _check_free(self, needed: int, purpose: str) -> None:
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise DataError(
                f"not enough room to {purpose} in {self.root}: {needed:,} bytes are needed, {free:,} are free",
                fix="root=<a folder on a larger disk>, or parts=[...] for less",
            )
