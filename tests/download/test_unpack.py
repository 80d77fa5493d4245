"""Archives write into their folder and nowhere else, whole or not at all."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from retina.download.unpack import unpack, unpacked_size
from retina.errors import DataError

FILES = {"top/a.txt": b"hello", "top/deep/b.bin": bytes(5000), "mit Löwe 猫.txt": b"x"}


def _zip(path, files, *, link=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("top/", "")
        for name, content in files.items():
            file.writestr(name, content)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(member, "/etc/passwd")
    return path


def _tar(path, files, *, special=None, kind=tarfile.SYMTYPE):
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        if special:
            member = tarfile.TarInfo(special)
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    return path


@pytest.mark.parametrize("make", [_zip, _tar])
def test_every_file_comes_out(tmp_path, make):
    archive = make(tmp_path / "archive", FILES)
    steps: list[int] = []
    assert sorted(unpack(archive, tmp_path / "out", steps.append)) == sorted(FILES)
    for name, content in FILES.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert steps[-1] == unpacked_size(archive) == sum(map(len, FILES.values()))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mit Löwe 猫.txt", "top"]
    unpack(archive, tmp_path / "out")  # again: everything is there already


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "top/../../evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_that_leave_the_folder_are_refused(tmp_path, make, name):
    archive = make(tmp_path / "archive", {"top/a.txt": b"a", name: b"evil"})
    with pytest.raises(DataError, match="names that leave the folder"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with pytest.raises(DataError, match="links or devices: top/link"):
        unpack(_tar(tmp_path / "archive", FILES, special="top/link", kind=kind), tmp_path / "out")


def test_links_in_zip_archives_are_refused(tmp_path):
    with pytest.raises(DataError, match="links or devices: link"):
        unpack(_zip(tmp_path / "archive", FILES, link="link"), tmp_path / "out")


@pytest.mark.parametrize("make", [_zip, _tar])
def test_a_damaged_archive_leaves_nothing(tmp_path, make):
    archive = make(tmp_path / "archive", FILES)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bit_that_flipped_in_a_zip_archive_is_found(tmp_path):
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.bin", bytes(100))
    raw = bytearray(archive.read_bytes())
    raw[60] ^= 1
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="damaged.*CRC"):
        unpack(archive, tmp_path / "out")


def test_files_of_another_size_are_not_overwritten(tmp_path):
    (tmp_path / "out" / "top").mkdir(parents=True)
    (tmp_path / "out" / "top" / "a.txt").write_bytes(b"mine, and longer")
    with pytest.raises(DataError, match="nothing is overwritten") as caught:
        unpack(_zip(tmp_path / "archive", FILES), tmp_path / "out")
    assert "top/a.txt" in str(caught.value)
    assert (tmp_path / "out" / "top" / "a.txt").read_bytes() == b"mine, and longer"
    assert not (tmp_path / "out" / "top" / "deep").exists()
