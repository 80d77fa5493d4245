from __future__ import annotations

import json
import os

import pytest

from retina.files import make_folder_atomically, replace_atomically, write_json_atomically, write_text_atomically


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text("old")
    write_text_atomically(path, "néw")
    assert path.read_text(encoding="utf-8") == "néw"
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_readers_see_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with replace_atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt(), ValueError("a bug")], ids=repr)
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, error):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with replace_atomically(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_what_a_killed_process_left_behind_is_overwritten(tmp_path):
    (tmp_path / ".last.pt.partial").write_bytes(b"a longer leftover")
    with replace_atomically(tmp_path / "last.pt") as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == b"new"


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b))[1])
    write_text_atomically(tmp_path / "a", "text")
    assert events == [str(tmp_path / ".a.partial"), "rename", str(tmp_path)]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text_atomically(tmp_path / "absent" / "a", "text")


def test_json_comes_back_also_with_names_that_are_no_text(tmp_path):
    value = {"class": "größe", "file": os.fsdecode(b"caf\xe9.png"), "AP": 0.1, "none": None}
    write_json_atomically(tmp_path / "a.json", value, indent=1)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "größe" in text
    assert text.endswith("}\n")


def test_numbers_that_json_does_not_have_are_refused_and_the_old_file_stays(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomically(tmp_path / "a.json", [float("nan")])
    assert (tmp_path / "a.json").read_text() == "old"


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path):
    with make_folder_atomically(tmp_path / "deep" / "set") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "deep" / "set").exists()
    assert os.listdir(tmp_path / "deep") == ["set"]
    assert os.listdir(tmp_path / "deep" / "set") == ["a"]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()], ids=repr)
def test_a_folder_that_fails_leaves_nothing(tmp_path, error):
    def fail_half_way() -> None:
        with make_folder_atomically(tmp_path / "set") as folder:
            (folder / "a").touch()
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert os.listdir(tmp_path) == []


def test_of_two_processes_that_make_one_folder_the_first_ones_stays(tmp_path):
    with make_folder_atomically(tmp_path / "set") as slow:
        (slow / "slow").touch()
        with make_folder_atomically(tmp_path / "set") as fast:
            (fast / "fast").touch()
    assert os.listdir(tmp_path) == ["set"]
    assert os.listdir(tmp_path / "set") == ["fast"]


def test_a_file_in_the_place_of_a_folder_is_an_os_error(tmp_path):
    (tmp_path / "set").touch()
    with pytest.raises(NotADirectoryError), make_folder_atomically(tmp_path / "set"):
        pass
    assert os.listdir(tmp_path) == ["set"]
