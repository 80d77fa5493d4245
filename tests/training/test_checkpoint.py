from __future__ import annotations

import hashlib
import logging
import os
import pickle
import resource
import subprocess
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from retina.errors import CheckpointError, RetinaError
from retina.training.checkpoint import load_checkpoint, resolve_checkpoint, save_checkpoint


class RunsCode:
    """A pickle of it makes a folder when it is read by a loader that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def state(fill: float = 1.0, size: int = 1000) -> dict:
    return {
        "model": OrderedDict(weight=torch.full((size,), fill)),
        "step": 7,
        "names": ["a", None],
        "best": (0.5, True),
    }


def fill_of(path: Path) -> float:
    return load_checkpoint(path)["model"]["weight"][0].item()


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "last.pt"
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    save_checkpoint(path, {**state(), "model": model.state_dict(), "optimizer": optimizer.state_dict()})
    loaded = load_checkpoint(path)
    torch.testing.assert_close(dict(loaded["model"]), dict(model.state_dict()), rtol=0, atol=0)
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(loaded["optimizer"]["state"][0]["momentum_buffer"], momentum)
    assert (loaded["step"], loaded["names"], loaded["best"]) == (7, ["a", None], (0.5, True))
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "last.pt.sha256"]


def test_sha256sum_itself_can_check_the_file(tmp_path):
    save_checkpoint(tmp_path / "last.pt", state())
    save_checkpoint(tmp_path / "last.pt", state(2.0))
    digest = hashlib.sha256((tmp_path / "last.pt").read_bytes()).hexdigest()
    assert (tmp_path / "last.pt.sha256").read_text() == f"{digest}  last.pt\n"
    subprocess.run(["sha256sum", "--check", "--quiet", "last.pt.sha256"], cwd=tmp_path, check=True)


class PowerCut(BaseException):
    """The process ends here: nothing after it runs, no clean-up either."""


def test_whenever_the_power_goes_one_whole_checkpoint_stands_and_the_next_save_works(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    real = {(module, name): getattr(module, name) for module, name in ((os, "fsync"), (os, "replace"), (Path, "open"))}
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    seen = []
    for survived in range(40):  # the number of calls to the disk before the power goes
        save_checkpoint(path, state(1.0))
        left = survived

        def cut(function):
            def call(*values, **named):
                nonlocal left
                if left == 0:
                    raise PowerCut
                left -= 1
                return function(*values, **named)

            return call

        with monkeypatch.context() as disk:
            for (module, name), function in real.items():
                disk.setattr(module, name, cut(function))
            try:
                save_checkpoint(path, state(2.0))
                finished = True
            except PowerCut:
                finished = False
        seen.append(fill_of(path))
        if finished:
            break
        save_checkpoint(path, state(3.0))
        assert fill_of(path) == 3.0
    assert finished
    assert seen == sorted(seen)  # the old one up to some moment, the new one from then on
    assert seen.count(1.0) >= 5
    assert seen.count(2.0) >= 4


def test_a_full_disk_is_told_and_leaves_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, state(1.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as a full disk: write() fails half-way
    try:
        with pytest.raises(
            RetinaError, match="the checkpoint could not be written: .*last.pt: File too large"
        ) as caught:
            save_checkpoint(path, state(2.0, size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "an earlier checkpoint of that name" in str(caught.value)
    assert fill_of(path) == 1.0
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "last.pt.sha256"]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RetinaError, match="No such file or directory"):
        save_checkpoint(tmp_path / "absent" / "last.pt", state())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.float64(0.5),
            r"state\['metrics'\]\[0\] is a numpy\.float64; a checkpoint holds tensors and plain values only",
        ),
        (np.zeros(3), r"state\['metrics'\]\[0\] is a numpy\.ndarray"),
        (Path("a"), r"state\['metrics'\]\[0\] is a pathlib\."),
        ({1.5: "a"}, r"state\['metrics'\]\[0\] has a key of type float \(1\.5\), not str or int"),
        (namedtuple("Point", "x")(1), r"state\['metrics'\]\[0\] is a .*Point"),
        ({1, 2}, r"state\['metrics'\]\[0\] is a builtins\.set"),
    ],
    ids=["numpy float", "array", "path", "float key", "named tuple", "set"],
)
def test_what_could_not_be_read_back_safely_is_not_written(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path / "last.pt", {"metrics": [value]})
    assert os.listdir(tmp_path) == []


def test_one_flipped_bit_anywhere_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, state())
    whole = path.read_bytes()
    for position in range(4, len(whole), len(whole) // 25):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="the checkpoint is damaged: .*last.pt") as caught:
            load_checkpoint(path)
    assert caught.value.exit_status == 3
    assert "checkpoints/best.pt" in caught.value.fix


def test_torch_alone_would_not_have_noticed(tmp_path):
    """The reason for the sha256: without it a flipped bit in a weight is read as if nothing were wrong."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, state())
    damaged = bytearray(path.read_bytes())
    damaged[bytes(damaged).index(b"\x00\x00\x80\x3f" * 8) + 3] ^= 1
    path.write_bytes(damaged)
    assert torch.load(path, weights_only=True)["model"]["weight"].ne(1).any()


@pytest.mark.parametrize("with_sha256", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_an_error(tmp_path, kept, with_sha256):
    path = tmp_path / "last.pt"
    save_checkpoint(path, state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    if not with_sha256:
        (tmp_path / "last.pt.sha256").unlink()
    with pytest.raises(CheckpointError, match=r"damaged|cannot be read|not a checkpoint"):
        load_checkpoint(path)


def test_without_its_sha256_a_checkpoint_is_read_with_a_warning(tmp_path, caplog):
    path = tmp_path / "best.pt"
    save_checkpoint(path, state())
    (tmp_path / "best.pt.sha256").unlink()
    with caplog.at_level(logging.WARNING, logger="retina"):
        assert load_checkpoint(path)["step"] == 7
    assert caplog.messages == [f"{path} has no sha256 beside it: whether it is whole could not be verified"]


def test_a_save_over_a_checkpoint_without_sha256_makes_one(tmp_path, caplog):
    save_checkpoint(tmp_path / "last.pt", state(1.0))
    (tmp_path / "last.pt.sha256").unlink()
    save_checkpoint(tmp_path / "last.pt", state(2.0))
    assert fill_of(tmp_path / "last.pt") == 2.0
    assert caplog.messages == []


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    path, made = tmp_path / "evil.pt", tmp_path / "made by the pickle"
    torch.save({"model": RunsCode(made)}, path)
    with pytest.raises(
        CheckpointError, match=r"holds more than tensors and plain values: .*evil.pt asks for posix\.mkdir"
    ):
        load_checkpoint(path)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # so it was a live one


def test_a_bare_pickle_is_not_opened_at_all(tmp_path):
    path, made = tmp_path / "evil.pt", tmp_path / "made by the pickle"
    path.write_bytes(pickle.dumps(RunsCode(made)))
    with pytest.raises(CheckpointError, match="not a checkpoint: .*evil.pt"):
        load_checkpoint(path)
    assert not made.exists()


def test_a_power_cut_while_the_first_sha256_is_made_leaves_the_earlier_checkpoint_usable(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, state(1.0))
    (tmp_path / "last.pt.sha256").unlink()
    replace = Path.replace

    def cut_before_the_second_rename(partial: Path, target: Path) -> None:
        if target == path:
            raise PowerCut
        replace(partial, target)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "replace", cut_before_the_second_rename)
        with pytest.raises(PowerCut):
            save_checkpoint(path, state(2.0))
    assert (tmp_path / "last.pt.sha256").exists()
    assert fill_of(path) == 1.0


def test_another_file_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "photo.pt"
    path.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"error: not a checkpoint: {path} (17 bytes)\n"
        "why:   it does not start as a file of torch.save does\n"
        "fix:   give a run directory or its checkpoints/best.pt"
    )


def test_a_bare_tensor_is_not_a_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project: .* holds a Tensor"):
        load_checkpoint(tmp_path / "tensor.pt")


def test_missing_keys_are_named_beside_those_that_are_there(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"model": {}, "step": 1})
    message = r"lacks 'ema', 'class_names': .*last\.pt \(it holds model, step\)"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "last.pt", required_keys=("model", "ema", "class_names"))


def test_a_missing_file_says_where_relative_paths_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint: last.pt") as caught:
        load_checkpoint(Path("last.pt"))
    assert str(tmp_path) in caught.value.why


def test_a_folder_is_not_read_as_a_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: .*: Is a directory"):
        load_checkpoint(tmp_path)


def test_a_run_directory_means_its_best_checkpoint_else_its_last(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.pt").touch()
    assert resolve_checkpoint(str(tmp_path)) == folder / "last.pt"
    (folder / "best.pt").touch()
    assert resolve_checkpoint(tmp_path) == folder / "best.pt"
    assert resolve_checkpoint(tmp_path, prefer="last") == folder / "last.pt"
    assert resolve_checkpoint(folder / "last.pt") == folder / "last.pt"


def test_a_run_without_checkpoints_and_a_wrong_path_are_told(tmp_path):
    with pytest.raises(CheckpointError, match=f"no checkpoint in {tmp_path}"):
        resolve_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint or run directory: .*absent") as caught:
        resolve_checkpoint(tmp_path / "absent")
    assert caught.value.exit_status == 3


def test_tensors_come_back_on_the_cpu_with_their_strides(tmp_path):
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "last.pt", {"weight": weight})
    loaded = load_checkpoint(tmp_path / "last.pt")["weight"]
    assert loaded.device.type == "cpu"
    assert loaded.stride() == weight.stride()
    assert torch.equal(loaded, weight)
