from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from pathlib import Path

import pytest

from retina.errors import ConfigError, RetinaError
from retina.training import run_directory
from retina.training.run_directory import Phases, create_run_directory, update_manifest, write_manifest


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
        f"fix:   choose another run_dir, or go on with resume={path}"
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


def test_the_manifest_says_how_the_run_came_about(tmp_path):
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={"name": "bccd"}, command=["train.py", "dataset=bccd"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["command"] == "train.py dataset=bccd"
    assert (manifest["seed"], manifest["precision"], manifest["data"]) == (3, "bf16", {"name": "bccd"})
    assert {"retina", "python", "torch", "torchvision", "numpy", "pycocotools"} <= set(manifest["versions"])
    assert {"cpu", "cores", "memory_gib", "gpus"} <= set(manifest["hardware"])
    assert datetime.fromisoformat(manifest["started"]).tzinfo is not None


def test_the_end_of_the_run_adds_the_seconds(tmp_path):
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={})
    update_manifest(tmp_path, seconds={"train": 1.5})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["seconds"], manifest["seed"]) == ({"train": 1.5}, 3)
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_going_on_with_a_run_keeps_its_earlier_starts(tmp_path):
    for seed in (1, 2, 3):
        write_manifest(tmp_path, seed=seed, precision="bf16", datasets={})
        update_manifest(tmp_path, seconds={"train": float(seed)})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert [(start["seed"], start["seconds"]) for start in manifest["earlier_starts"]] == [
        (1, {"train": 1.0}),
        (2, {"train": 2.0}),
    ]
    assert not any("earlier_starts" in start for start in manifest["earlier_starts"])


def test_a_manifest_that_was_damaged_by_hand_does_not_stop_a_run(tmp_path):
    (tmp_path / "manifest.json").write_text("{ half")
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={})
    assert "earlier_starts" not in json.loads((tmp_path / "manifest.json").read_text())


def test_a_manifest_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(RetinaError, match=r"the manifest cannot be written: .*manifest\.json: No such file"):
        update_manifest(tmp_path / "absent", seconds={})


def test_an_inner_phase_stops_the_outer_clock_so_that_seconds_add_up(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_directory.time, "monotonic", lambda: now[0])
    phases = Phases()
    with phases("train"):
        now[0] += 5
        with phases("evaluate"):
            now[0] += 3
        now[0] += 2
        assert phases.seconds() == {"train": 7.0, "evaluate": 3.0}  # while it runs
    now[0] += 50  # between phases

    def fail_after_a_second() -> None:
        with phases("train"):
            now[0] += 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_second()
    assert phases.seconds() == {"train": 8.0, "evaluate": 3.0}
