from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from retina import distributed
from retina.errors import ConfigError

# What each of two processes does; its findings come back as JSON. The run directory is here because a second pair of
# processes would cost the suite five more seconds.
PROGRAM = """
import json, sys
from retina.errors import ConfigError
from retina import distributed
from retina.training.run_directory import create_run_directory

with distributed.processes("cpu") as device:
    rank = distributed.rank()
    found = {
        "device": str(device),
        "rank": rank,
        "world_size": distributed.world_size(),
        "is_main": distributed.is_main(),
        "mean": distributed.mean_over_ranks(3.0 + 4 * rank),
        "half": distributed.mean_over_ranks(2.0**53 - 2 if rank else 0),
        "gathered": distributed.gather_objects({"rank": rank, "boxes": [1.5] * rank}),
        "broadcast": distributed.broadcast_object({"from": rank}),
    }
    distributed.barrier()
    found["run_dir"] = str(create_run_directory(None, name="shapes", runs=sys.argv[1]))
    try:
        create_run_directory(found["run_dir"], name="shapes")
    except ConfigError as error:
        found["error"] = error.what
found["rank_afterwards"] = distributed.rank()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def two_ranks(root, tmp_path_factory) -> list[dict]:
    """What two processes over gloo, with torchrun's environment, found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runs = tmp_path_factory.mktemp("runs")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(runs)],
            cwd=root,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()  # one that failed leaves the other waiting
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_know_who_they_are(two_ranks):
    assert [found["rank"] for found in two_ranks] == [0, 1]
    assert [found["world_size"] for found in two_ranks] == [2, 2]
    assert [found["is_main"] for found in two_ranks] == [True, False]
    assert [found["device"] for found in two_ranks] == ["cpu", "cpu"]
    assert [found["rank_afterwards"] for found in two_ranks] == [0, 0]


def test_host_numbers_are_the_same_on_every_rank_and_exact(two_ranks):
    assert [found["mean"] for found in two_ranks] == [5.0, 5.0]  # of 3 and 7
    assert [found["half"] for found in two_ranks] == [2.0**52 - 1] * 2


def test_objects_of_unequal_size_are_gathered_in_rank_order_on_every_rank(two_ranks):
    expected = [{"rank": 0, "boxes": []}, {"rank": 1, "boxes": [1.5]}]
    assert [found["gathered"] for found in two_ranks] == [expected, expected]


def test_rank_zero_is_the_one_that_broadcasts(two_ranks):
    assert [found["broadcast"] for found in two_ranks] == [{"from": 0}, {"from": 0}]


def test_both_ranks_get_the_one_run_directory_or_the_same_error(two_ranks):
    assert two_ranks[0]["run_dir"] == two_ranks[1]["run_dir"]
    assert two_ranks[0]["error"] == two_ranks[1]["error"] == f"run_dir holds a run already: {two_ranks[0]['run_dir']}"


def test_a_lone_process_needs_no_set_up(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.processes("cpu") as device:
        assert device == torch.device("cpu")
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        assert distributed.mean_over_ranks(2.5) == 2.5
        assert distributed.gather_objects("a") == ["a"]
        assert distributed.broadcast_object("a") == "a"
        distributed.barrier()


def test_an_incomplete_environment_names_what_is_absent(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError) as caught, distributed.processes("cpu"):
        pass
    assert str(caught.value).startswith(
        "error: WORLD_SIZE is set in the environment, but LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not"
    )
    assert "fix:   torchrun" in str(caught.value)


def test_more_ranks_than_devices_is_an_error_that_says_how_many_there_are(monkeypatch):
    environment = {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = "rank 3 wants CUDA device 3, this machine has 2"
    with pytest.raises(ConfigError, match=message) as caught, distributed.processes("cuda"):
        pass
    assert "--nproc-per-node 2" in caught.value.fix
