"""A data set part by part: room, what is done already, Ctrl-C."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections import namedtuple

import pytest

from retina.download.catalogue import Archive
from retina.download.command import Downloader
from retina.drawing.tables import ProgressBar
from retina.errors import DataError, Interrupted

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture
def archive(server) -> Archive:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("val/a.txt", "a" * 1000)
    server.content = content.getvalue()
    return Archive("val", (server.address,), len(server.content), server.sha256, 1000)


def test_a_part_is_fetched_unpacked_and_not_asked_for_again(archive, server, tmp_path):
    said: list[str] = []
    downloader = Downloader(tmp_path / "coco", say=said.append)
    downloader([archive])
    assert (tmp_path / "coco" / "val" / "a.txt").read_text() == "a" * 1000
    assert sorted(path.name for path in (tmp_path / "coco").iterdir()) == [".file.zip.done", "val"]
    downloader([archive])
    assert len(server.requests) == 1
    assert said == [
        f"download file.zip, {archive.size:,} bytes",
        "unpack file.zip, 1,000 bytes",
        "val: 1 files, 1,000 bytes, sha256 as known",
        "val: there already (file.zip)",
    ]


def test_archives_can_be_kept(archive, tmp_path):
    Downloader(tmp_path, keep_archives=True, say=lambda _: None)([archive])
    assert (tmp_path / "file.zip").stat().st_size == archive.size


def test_too_little_room_is_told_before_the_first_byte(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 500, 500))
    with pytest.raises(DataError, match=f"{archive.size + 1000:,} bytes are needed, 500 are free"):
        Downloader(tmp_path)([archive])
    assert server.requests == []


def test_what_was_fetched_already_needs_no_room(archive, server, tmp_path, monkeypatch):
    (tmp_path / "file.zip.part").write_bytes(server.content[:-1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 1001))
    said: list[str] = []
    Downloader(tmp_path, say=said.append)([archive])
    assert server.requests == [f"bytes={archive.size - 1}-"]
    assert "resuming at" in said[0]


def test_ctrl_c_keeps_what_is_there_and_says_how_to_resume(archive, server, tmp_path, monkeypatch):
    def stop(bar: ProgressBar, done: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressBar, "to", stop)
        with pytest.raises(Interrupted, match="resumes where it stopped") as caught:
            Downloader(tmp_path, say=lambda _: None)([archive])
    assert caught.value.exit_status == 130
    assert (tmp_path / "file.zip.part").stat().st_size == archive.size
    Downloader(tmp_path, say=lambda _: None)([archive])
    assert (tmp_path / "val" / "a.txt").exists()
