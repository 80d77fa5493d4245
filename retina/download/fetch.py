"""Fetching one large file: resumed where it stopped, tried again, checked by size and sha256."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retina.errors import DataError

_CHUNK = 2**20  # bytes
_TIMEOUT = 60.0  # seconds without a byte
_LONGEST_WAIT = 60.0  # seconds between two tries
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # states of a server that may be over soon
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Progress = Callable[[int], object]  # bytes of the file that are there


@dataclass(frozen=True)
class Download:
    """What is to be fetched and what it must be."""

    urls: Sequence[str]  # tried in this order; they give the same bytes
    target: Path
    size: int  # bytes
    sha256: str
    retries: int = 8  # tries in a row without a byte, for each address
    wait: Callable[[float], object] = time.sleep

    @property
    def partial(self) -> Path:  # where the bytes stand until they are complete and checked
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def notes(self) -> Path:  # which file of the server the partial one was begun with
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def num_partial(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    @property
    def num_bytes(self) -> int:  # complete or not
        return self.target.stat().st_size if self.target.is_file() else self.num_partial

    def discard(self) -> None:
        """Take the partial file away."""
        self.partial.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


class _Stopped(Exception):
    """A try ended early; another one may go on."""


class _Refused(Exception):
    """The server will not give the file, however often it is asked."""


def fetch(download: Download, progress: Progress = lambda _: None) -> Path:
    """Return ``download.target`` once it is complete; what an earlier try has left is kept and completed.

    The target appears under its name only when size and sha256 are right.

    Raises:
        DataError: no address gives the file, it is another one, or the disk is full. The partial file stays, except
            where its content is wrong.
    """
    if download.target.is_file() and download.target.stat().st_size == download.size:
        _check(download, download.target)
        return download.target
    download.target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in download.urls:
        try:
            _fetch_from(url, download, progress)
            break
        except _Refused as error:
            reasons.append(f"{url}: {error}")
    else:
        raise DataError(
            f"the download failed: {'; '.join(reasons)}",
            why=f"{download.num_partial:,} of {download.size:,} bytes are in {download.partial}",
            fix="the same command resumes where it stopped",
        )
    _check(download, download.partial)
    download.partial.replace(download.target)
    download.notes.unlink(missing_ok=True)
    return download.target


def _fetch_from(url: str, download: Download, progress: Progress) -> None:
    """Bring the partial file to its full size from one address; _Refused after too many tries without a byte."""
    failures, reason = 0, ""
    while download.num_partial < download.size:
        before = download.num_partial
        try:
            _try(url, download, progress)
        except _Stopped as error:
            reason = str(error)
        if download.num_partial > before:
            failures = 0
            continue
        failures += 1
        if failures > download.retries:
            raise _Refused(f"{reason or 'nothing came'} ({failures} tries)")
        download.wait(min(2.0 ** (failures - 1), _LONGEST_WAIT))
    if download.num_partial > download.size:
        download.discard()
        raise _Refused(f"the server sends more than {download.size:,} bytes")


def _try(url: str, download: Download, progress: Progress) -> None:
    """Add what one connection gives to the partial file."""
    start, headers = download.num_partial, {"User-Agent": "retina-download"}
    if start:
        headers["Range"] = f"bytes={start}-"
        with suppress(OSError, ValueError, LookupError, TypeError):  # without notes the sha256 alone has to tell
            known = json.loads(download.notes.read_text(encoding="utf-8"))
            if known["url"] == url and known["etag"]:
                headers["If-Range"] = known["etag"]  # changed since: the server sends all of it
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as response:
            start = _start_of(response, start, download)
            etag = response.headers.get("ETag") or "W/"  # a weak one does not promise the same bytes
            notes = {"url": url, "etag": None if etag.startswith("W/") else etag}
            download.notes.write_text(json.dumps(notes), encoding="utf-8")
            _copy(response, download, start, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # asked for bytes behind its end: what is here is of another file
            download.discard()
            raise _Stopped("the server has a shorter file") from None
        if error.code in _PASSING:
            raise _Stopped(f"{error.code} {error.reason}") from None
        raise _Refused(f"{error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Stopped(str(getattr(error, "reason", error)) or type(error).__name__) from None


def _start_of(response: Any, asked: int, download: Download) -> int:
    """Return the byte that the answer begins with, after making sure that it is of a file of the right size."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != asked or found[2] not in ("*", str(download.size)):
            download.discard()
            raise _Stopped(f"unexpected range {response.headers.get('Content-Range')!r}")
        return asked
    length = response.headers.get("Content-Length")
    if length is not None and int(length) != download.size:
        raise _Refused(f"the file has {int(length):,} bytes, not {download.size:,}")
    return 0  # ranges are not known to the server, or the file has changed: from the beginning


def _copy(response: Any, download: Download, start: int, progress: Progress) -> None:
    """Write what comes behind byte ``start`` of the partial file; what was written stays, whatever happens."""
    try:
        with download.partial.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            while file.tell() <= download.size:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _Stopped(str(error) or type(error).__name__) from None
                if not chunk:
                    break
                file.write(chunk)
                progress(file.tell())
    except OSError as error:
        raise DataError(
            f"the download cannot be written ({error.strerror}): {download.partial}",
            why=f"{download.size - download.num_partial:,} bytes are missing",
            fix="make room; the same command resumes where it stopped",
        ) from None


def _check(download: Download, path: Path) -> None:
    """Compare size and sha256; a file that is wrong is taken away."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.stat().st_size == download.size and digest == download.sha256:
        return
    path.unlink()
    download.notes.unlink(missing_ok=True)
    raise DataError(
        f"the file that was downloaded is not the one that is known: {path}",
        why=f"its sha256 is {digest}, not {download.sha256}; it was removed",
        fix="run the same command again; if it happens twice, the server has another file",
    )
