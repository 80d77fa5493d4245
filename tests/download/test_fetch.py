"""A file is fetched whole or not at all, from servers that cut lines, forget ranges and change files."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from retina.download.fetch import Download, fetch
from retina.errors import DataError


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def download(server, tmp_path, waits) -> Download:
    content = server.content
    return Download([server.address], tmp_path / "file.zip", len(content), server.sha256, retries=3, wait=waits.append)


def _fetched(download: Download, server) -> bool:
    path = fetch(download)
    leftovers = [item.name for item in path.parent.iterdir()]
    return path.read_bytes() == server.content and leftovers == ["file.zip"]


def test_a_file_comes_whole_under_its_name(download, server):
    steps: list[int] = []
    assert fetch(download, steps.append).read_bytes() == server.content
    assert steps[-1] == len(server.content)
    assert _fetched(download, server)  # the second time nothing is asked
    assert server.requests == [None]


def test_a_line_that_is_cut_is_gone_on_with_where_it_was(download, server, waits):
    server.cut_after = [1000, 2000]
    assert _fetched(download, server)
    assert server.requests == [None, "bytes=1000-", "bytes=3000-"]
    assert waits == []  # something came every time


def test_another_run_goes_on_where_the_first_was_stopped(download, server):
    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        raise Stop

    server.cut_after = [5000]
    with pytest.raises(Stop):
        fetch(download, stop)
    assert download.num_partial == 5000
    assert not download.target.exists()
    assert _fetched(download, server)
    assert server.requests[-1] == "bytes=5000-"


def test_a_server_without_ranges_sends_it_all_again(download, server):
    server.ranges, server.cut_after = False, [1000]
    assert _fetched(download, server)
    assert len(server.requests) == 2


def test_a_file_that_changed_meanwhile_is_begun_again(download, server):
    server.cut_after = [1000]
    old = server.content
    server.content = b"x" * len(old)
    with pytest.raises(DataError):
        fetch(Download(download.urls, download.target, len(old), "0" * 64, retries=0, wait=lambda _: None))
    download.partial.write_bytes(b"x" * 1000)
    download.notes.write_text(json.dumps({"url": server.address, "etag": '"one"'}))
    server.content, server.etag = old, '"two"'
    assert _fetched(download, server)


def test_a_part_that_is_longer_than_the_file_is_begun_again(download, server):
    whole = server.content
    download.partial.write_bytes(whole[:500])
    server.content = whole[:400]  # the server has a shorter one for a moment: 416

    def restore(_: float) -> None:
        server.content = whole

    again = Download(download.urls, download.target, len(whole), download.sha256, retries=3, wait=restore)
    assert _fetched(again, server)
    assert server.requests == ["bytes=500-", None]


def test_a_server_that_is_busy_is_asked_again_with_longer_and_longer_pauses(download, server, waits):
    server.statuses = [503, 500, 429]
    assert _fetched(download, server)
    assert waits == [1, 2, 4]


def test_after_so_many_tries_without_a_byte_it_is_given_up_and_the_part_stays(download, server, waits):
    server.cut_after = [1000]
    server.statuses = []
    fetch_once = Download(download.urls, download.target, download.size, download.sha256, retries=0, wait=waits.append)
    server.content = server.content[:]
    download.partial.write_bytes(server.content[:700])
    server.statuses = [503] * 9
    with pytest.raises(DataError, match=r"503 Service Unavailable \(1 tries\)") as caught:
        fetch(fetch_once)
    assert "700 of 307,200 bytes are in" in str(caught.value)
    assert download.num_partial == 700


def test_a_file_that_is_not_there_is_given_up_at_once_and_the_next_address_is_tried(download, server, waits):
    server.statuses = [404]
    with pytest.raises(DataError, match="404"):
        fetch(download)
    assert waits == []
    server.statuses = [404]
    both = Download([*download.urls, *download.urls], download.target, download.size, download.sha256)
    assert _fetched(both, server)


def test_a_server_that_cannot_be_reached_is_told(download, tmp_path, waits):
    nobody = Download(["http://127.0.0.1:1/x"], tmp_path / "x", 10, "", retries=2, wait=waits.append)
    with pytest.raises(DataError, match=r"refused \(3 tries\)"):
        fetch(nobody)
    assert waits == [1, 2]


def test_a_wrong_size_is_told_before_anything_is_fetched(download, server):
    longer = Download(download.urls, download.target, download.size + 1, download.sha256)
    with pytest.raises(DataError, match="the file has 307,200 bytes, not 307,201"):
        fetch(longer)
    assert download.num_partial == 0


def test_a_wrong_sha256_takes_the_file_away(download, server):
    wrong = Download(download.urls, download.target, download.size, "0" * 64)
    with pytest.raises(DataError, match="its sha256 is") as caught:
        fetch(wrong)
    assert list(download.target.parent.iterdir()) == []
    assert caught.value.exit_status == 2


def test_a_full_disk_is_told_with_what_is_missing(download, server, monkeypatch):
    opened = Path.open

    class Full:
        def __init__(self, file) -> None:
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, chunk):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **more: Full(opened(path, mode, **more)) if mode == "wb" else opened(path, mode, **more),
    )
    with pytest.raises(DataError, match="cannot be written \\(No space left on device\\)"):
        fetch(download)
