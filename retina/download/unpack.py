"""Unpacking an archive into a folder, without letting it write anywhere else."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from retina.data.file_names import leaves_folder
from retina.errors import DataError, first_five

_CHUNK = 2**20
# Of a file in a zip archive made on Unix; the upper half of the external attributes.
_MODE_SHIFT = 16

Progress = Callable[[int], object]  # bytes unpacked so far


def unpack(archive: Path, folder: Path, progress: Progress = lambda _: None) -> list[str]:
    """Unpack ``archive`` (zip or tar) into ``folder`` and return the names of its files.

    Everything is unpacked beside first, so that nobody sees half of it; files that are there with the same size stay.

    Raises:
        DataError: it is damaged, has links, devices or names that leave the folder, would write over other files, or
            the disk is full. ``folder`` is as it was before.
    """
    beside = folder / f".unpacking-{archive.name}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        names, done = [], 0
        for name, size, source in _members(archive, folder):
            target = beside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
            if target.stat().st_size != size:
                raise DataError(f"the archive is damaged: {archive} [{name}]", fix="delete it and download it again")
            names.append(name)
            done += size
            progress(done)
        _move(beside, folder, names, archive)
        return names
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise DataError(f"the archive is damaged ({error}): {archive}", fix="delete it and download it again") from None
    except OSError as error:
        raise DataError(f"the archive cannot be unpacked ({error.strerror or error}): {archive}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def unpacked_size(archive: Path) -> int:
    """Return how many bytes the files in ``archive`` have, as it says itself."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            return sum(member.file_size for member in file.infolist())
    with tarfile.open(archive) as tar:
        return sum(member.size for member in tar)


def _members(archive: Path, folder: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, size and content of every file, after all names were checked."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            modes = {entry.filename: stat.S_IFMT(entry.external_attr >> _MODE_SHIFT) for entry in entries}
            special = [name for name, mode in modes.items() if mode not in (0, stat.S_IFREG, stat.S_IFDIR)]
            _refuse(archive, [entry.filename for entry in entries], special)
            for entry in entries:
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, file.open(entry)  # reading to the end checks the CRC
        return
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        special = [member.name for member in members if not (member.isreg() or member.isdir())]
        _refuse(archive, [member.name for member in members], special)
        for member in members:
            # Python's own filter as a second opinion; only contents are taken, neither owners nor modes.
            tarfile.data_filter(member, os.fspath(folder))
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, member.size, content


def _refuse(archive: Path, names: list[str], special: list[str]) -> None:
    leaving = [name for name in names if leaves_folder(name)]
    if leaving or special:
        reasons = [f"names that leave the folder: {first_five(leaving)}"] if leaving else []
        reasons += [f"links or devices: {first_five(special)}"] if special else []
        raise DataError(
            f"the archive is not unpacked: {archive} [{'; '.join(reasons)}]",
            why="it could write outside of the folder that was asked for",
            fix="get the archive from its publisher",
        )


def _move(beside: Path, folder: Path, names: list[str], archive: Path) -> None:
    """Move the files to where they belong; nothing is moved where one would write over another."""
    others = [
        name
        for name in names
        if os.path.lexists(folder / name)
        and (not (folder / name).is_file() or (folder / name).stat().st_size != (beside / name).stat().st_size)
    ]
    if others:
        raise DataError(
            f"files of another size are in the way of {archive.name}: {folder} [{first_five(others)}]",
            why="nothing is overwritten",
            fix="move them away, or choose another root=",
        )
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.replace(beside / name, target)
