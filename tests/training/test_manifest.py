from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime

import numpy as np
import pytest
import torch

from retina.errors import RetinaError
from retina.training import manifest
from retina.training.manifest import Phases, describe_environment, git_state, update_manifest, write_manifest


def commit_something(folder) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.hooksPath=/dev/null"]
    git = ["git", "-C", str(folder), *identity]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (folder / "a.txt").write_text("a")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "a"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_the_environment_is_plain_values_with_true_versions(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "a b"])
    found = json.loads(json.dumps(describe_environment()))
    assert found["command"] == "train.py 'a b'"
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["versions"]["retina"].count(".") == 2
    assert found["hardware"]["cores"] == os.cpu_count()
    assert found["hardware"]["memory_gib"] > 0.1
    assert found["hardware"]["cpu"]


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    commit = commit_something(tmp_path)
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "a.txt").write_text("b")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}


def test_a_folder_inside_somebody_elses_checkout_has_no_commit_of_its_own(tmp_path):
    commit_something(tmp_path)
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") is None


def test_no_git_and_no_checkout_are_fine(tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(manifest._CHECKOUT) is None


def test_the_manifest_says_how_the_run_came_about(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "dataset=bccd"])
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={"name": "bccd"})
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["command"] == "train.py dataset=bccd"
    assert (written["seed"], written["precision"], written["data"]) == (3, "bf16", {"name": "bccd"})
    assert {"retina", "python", "torch", "torchvision", "numpy", "pycocotools"} <= set(written["versions"])
    assert {"cpu", "cores", "memory_gib", "gpus"} <= set(written["hardware"])
    assert datetime.fromisoformat(written["started"]).tzinfo is not None


def test_the_end_of_the_run_adds_the_seconds(tmp_path):
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={})
    update_manifest(tmp_path, seconds={"train": 1.5})
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert (written["seconds"], written["seed"]) == ({"train": 1.5}, 3)
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_going_on_with_a_run_keeps_its_earlier_starts(tmp_path):
    for seed in (1, 2, 3):
        write_manifest(tmp_path, seed=seed, precision="bf16", datasets={})
        update_manifest(tmp_path, seconds={"train": float(seed)})
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["seed"] == 3
    assert [(start["seed"], start["seconds"]) for start in written["earlier_starts"]] == [
        (1, {"train": 1.0}),
        (2, {"train": 2.0}),
    ]
    assert not any("earlier_starts" in start for start in written["earlier_starts"])


def test_a_manifest_that_was_damaged_by_hand_does_not_stop_a_run(tmp_path):
    (tmp_path / "manifest.json").write_text("{ half")
    write_manifest(tmp_path, seed=3, precision="bf16", datasets={})
    assert "earlier_starts" not in json.loads((tmp_path / "manifest.json").read_text())


def test_a_manifest_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(RetinaError, match=r"the manifest cannot be written: .*manifest\.json: No such file"):
        update_manifest(tmp_path / "absent", seconds={})


def test_an_inner_phase_stops_the_outer_clock_so_that_seconds_add_up(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(manifest.time, "monotonic", lambda: now[0])
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
