"""Files on other storage, such as ``s3://bucket/coco`` or ``memory://coco``, read through fsspec."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retina.data.file_names import leaves_folder
from retina.errors import DataError

_CHUNK = 1 << 20  # bytes
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z][A-Za-z0-9+.-]*::")

# What fsspec needs besides itself for the storage that people name most. Source: fsspec.registry.known_implementations.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "http": "aiohttp",
             "https": "aiohttp", "hf": "huggingface_hub"}  # fmt: skip


def is_remote(path: str | Path | None) -> bool:
    """Return whether ``path`` names storage by a protocol; a ``Path`` never does."""
    return isinstance(path, str) and _URL.match(path) is not None


def join(root: str, name: str, place: str = "") -> str:
    """Return the address of file ``name`` below ``root``; DataError, which calls it ``place``, where it leads outside.

    ``root`` is an address such as ``s3://bucket/coco``.
    """
    # A name with a protocol of its own, or with the escapes that servers undo, could be understood as another place.
    if leaves_folder(name) or is_remote(name) or "::" in name or leaves_folder(_unescaped(name)):
        raise DataError(
            f"{place or repr(name)} stands outside of the folder of images: {root}",
            why="only files inside the folder are read, whatever an annotation file says",
            fix="write names relative to the folder, without '..' and without a protocol",
        )
    return f"{root.rstrip('/')}/{name}"


def exists(url: str) -> bool:
    """Return whether there is a file at ``url``; DataError where the storage cannot be reached."""
    filesystem, path = _filesystem(url)
    return bool(filesystem.exists(path))


def read_bytes(url: str) -> bytes:
    """Return the content of the file at ``url``; OSError where that fails, DataError where a package is missing."""
    filesystem, path = _filesystem(url)
    return bytes(filesystem.cat_file(path))


def read_chunks(path: str | Path) -> Iterator[bytes]:
    """Yield the bytes of a file on disk or at an address, in order; raises as :func:`read_bytes`."""
    if is_remote(path):
        filesystem, inside = _filesystem(str(path))
        file = filesystem.open(inside, "rb")
    else:
        # Looked at before it is opened: opening a pipe would wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"not a regular file: {path}")
        file = open(path, "rb")  # noqa: SIM115
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def size_and_version(url: str) -> tuple[int, str]:
    """Return the bytes of the file at ``url`` and a text that changes when it does, as far as the storage tells."""
    filesystem, path = _filesystem(url)
    return int(filesystem.size(path) or 0), str(filesystem.ukey(path))


def _filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system and the path in it."""
    protocol = re.split(r"::|://", url, maxsplit=1)[0]
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url)
    except ImportError as error:
        no_fsspec = (error.name or "").partition(".")[0] == "fsspec"
        package = _PACKAGES.get(protocol, "" if no_fsspec else f"the package for {protocol}://")
        raise DataError(
            f"{protocol}:// cannot be read: {url}",
            why="the package fsspec is not installed" if no_fsspec else f"a package is missing ({error})",
            fix=f"pip install fsspec {package}".rstrip(),
        ) from None
    except ValueError as error:
        raise DataError(
            f"{url} cannot be read ({error})", fix="give a folder, or an address like s3://bucket/folder"
        ) from None
    if "file" in filesystem.protocol:
        # The checks of links and devices are those of plain paths.
        raise DataError(f"give files on disk by their path: {url}", fix=path)
    return filesystem, path


def _unescaped(name: str) -> str:
    return re.sub(r"%2[eE]", ".", re.sub(r"%2[fF]", "/", name))
