from __future__ import annotations

import os
import threading
from datetime import datetime
from pathlib import Path

import pytest

from retina.errors import ConfigError
from retina.training import run_directory
from retina.training.run_directory import create_run_directory


class OneMoment(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, 4, 5, 6, 7, tzinfo=tz)


def test_the_default_name_is_date_time_and_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "datetime", OneMoment)
    path = create_run_directory(None, name="bccd", runs=str(tmp_path / "runs"))
    assert path == tmp_path / "runs" / "20250304-050607-bccd"
    assert sorted(os.listdir(path)) == ["checkpoints", "tensorboard"]


def test_two_runs_in_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "datetime", OneMoment)
    names = [create_run_directory(None, name="a", runs=str(tmp_path)).name for _ in range(3)]
    assert names == ["20250304-050607-a", "20250304-050607-a-2", "20250304-050607-a-3"]


def test_many_runs_at_the_same_moment_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "datetime", OneMoment)
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(create_run_directory(None, name="a", runs=str(tmp_path))))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == len(paths) == 16


@pytest.mark.parametrize(("name", "expected"), [("my data=v1,2", "my-data-v1-2"), ("../up", "up"), ("", "run")])
def test_names_are_readable_on_the_command_line(tmp_path, monkeypatch, name, expected):
    monkeypatch.setattr(run_directory, "datetime", OneMoment)
    path = create_run_directory(None, name=name, runs=str(tmp_path))
    assert path == tmp_path / f"20250304-050607-{expected}"


def test_a_given_folder_is_taken_with_what_else_is_in_it(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    path = create_run_directory(str(tmp_path / "mine"), name="bccd")
    assert sorted(os.listdir(path)) == ["checkpoints", "notes.txt", "tensorboard"]


def test_a_folder_with_a_run_is_refused_and_resume_is_named(tmp_path):
    path = create_run_directory(str(tmp_path / "mine"), name="bccd")
    (path / "checkpoints" / "last.pt").touch()
    with pytest.raises(ConfigError) as caught:
        create_run_directory(str(path), name="bccd")
    assert str(caught.value) == (
        f"error: run_dir holds a run already: {path}\n"
        "why:   its checkpoints and numbers would be mixed with those of another run\n"
        f"fix:   choose another run_dir, or resume with resume={path}"
    )


def test_a_run_that_never_saved_is_refused_without_promising_that_it_can_be_resumed(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        create_run_directory(str(tmp_path), name="bccd")
    assert "resume=" not in caught.value.fix
    assert f"rm -r {tmp_path}" in caught.value.fix


def test_of_two_runs_that_both_found_the_folder_free_one_gets_it(tmp_path, monkeypatch):
    create_run_directory(str(tmp_path / "mine"), name="bccd")
    monkeypatch.setattr(Path, "exists", lambda _path: False)  # the other looked a moment earlier
    with pytest.raises(ConfigError, match="the run directory cannot be made: .*mine: File exists"):
        create_run_directory(str(tmp_path / "mine"), name="bccd")


@pytest.mark.parametrize("run_dir", ["runs/lr=1", "runs/a,b"])
def test_a_folder_that_could_not_be_named_in_a_later_command_is_refused(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"run_dir must not contain '=' or ',': '{run_dir}'"):
        create_run_directory(run_dir, name="bccd")
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match="the run directory cannot be made: .*runs"):
        create_run_directory(None, name="bccd", runs=str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match="the run directory cannot be made: .*Not a directory"):
        create_run_directory(str(tmp_path / "runs" / "mine"), name="bccd")
