"""Downloading a data set part by part: room, archive, content, and what is done already."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retina.download.catalogue import Archive
from retina.download.fetch import Download, fetch
from retina.download.unpack import unpack, unpacked_size
from retina.drawing.tables import progress
from retina.errors import DataError, Interrupted


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
        done = [archive for archive in archives if self._is_done(archive)]
        for archive in done:
            self.say(f"{archive.part}: there already ({archive.file_name})")
        missing = [archive for archive in archives if archive not in done]
        self._check_room(missing)
        for archive in missing:
            try:
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
        return self.root / f".{archive.file_name}.done"

    def _is_done(self, archive: Archive) -> bool:
        mark = self._mark(archive)
        return mark.is_file() and mark.read_bytes().startswith(archive.sha256.encode())

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
