from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import torch

from retina.training import environment
from retina.training.environment import describe_environment, git_state


def commit_something(folder) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.hooksPath=/dev/null"]
    git = ["git", "-C", str(folder), *identity]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (folder / "a.txt").write_text("a")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "a"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_the_environment_is_plain_values_with_true_versions():
    found = json.loads(json.dumps(describe_environment(["train.py", "a b"])))
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
    assert git_state(environment._CHECKOUT) is None
