"""Whole training runs: what they leave behind, that they go on exactly, and that splitting a batch changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from retina.config.command import call_command
from retina.data.dataset import DetectionDataset
from retina.data.samplers import KeyedBatchSampler
from retina.errors import DivergedError, Interrupted
from retina.models.backbones.resnet import ResNet
from retina.training.checkpoint import load_checkpoint
from retina.training.trainer import Trainer

pytestmark = pytest.mark.slow


def checkpoint(run_dir, name="last.pt"):
    return load_checkpoint(run_dir / "checkpoints" / name)


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(first, second, *, tolerance=0.0):
    assert first.keys() == second.keys()
    assert len(first) > 50
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_run_leaves_what_the_contract_says(train, tmp_path):
    run = tmp_path / "run"
    train(f"run_dir={run}")
    for name in ("config.yaml", "manifest.json", "metrics.jsonl", "train.log", "checkpoints/last.pt",
                 "checkpoints/best.pt", "eval/val/metrics.json", "eval/val/detections.json"):  # fmt: skip
        assert (run / name).is_file(), name
    assert list((run / "tensorboard").glob("events*"))
    told = lines(run)
    assert [line["step"] for line in told if "train/loss" in line] == [1, 2, 3, 4]
    assert {"train/loss_classification", "train/loss_box", "train/lr", "train/grad_norm",
            "train/images_per_second"} <= told[0].keys()  # fmt: skip
    # No object of the validation images is large: what is not defined is null, not left out.
    assert {"eval/AP", "eval/ARl", "eval/loss"} <= told[-1].keys()
    assert told[-1]["eval/ARl"] is None
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["precision"] == "float32"
    assert manifest["seconds"]["train"] > 0
    assert "norm: gn" in (run / "config.yaml").read_text()


# Going on


# Batches of 5 of 12 images: the third step reaches into the second epoch.
UNEVEN = ("train.ema_decay=0.9", "train.max_steps=4", "train.batch_size=5")


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The directory of a run without an interruption, and without loader processes."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    call_command("train", [*small, *UNEVEN, f"run_dir={folder}"])
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_weights_of_the_uninterrupted_run(whole, train, tmp_path, workers):
    parts = tmp_path / "parts"
    stop_after(3, lambda: train(f"run_dir={parts}", *UNEVEN, f"train.workers={workers}"))
    assert checkpoint(parts)["progress"]["position"] == 15
    call_command("train", [f"resume={parts}"])
    one, other = checkpoint(whole), checkpoint(parts)
    assert_same_weights(one["model"], other["model"])
    assert_same_weights(one["ema"]["model"], other["ema"]["model"])
    assert one["progress"] == other["progress"]
    logged = [{name: value for name, value in line.items() if "second" not in name} for line in lines(parts)]
    assert logged == [{name: value for name, value in line.items() if "second" not in name} for line in lines(whole)]


def stop_after(step, run):
    """Run and send SIGTERM to this process once ``step`` is done."""
    original = Trainer._stop_if_needed

    def stopping(self, stop):
        if self.progress.step == step:
            signal.raise_signal(signal.SIGTERM)
        original(self, stop)

    Trainer._stop_if_needed = stopping
    try:
        with pytest.raises(Interrupted) as caught:
            run()
    finally:
        Trainer._stop_if_needed = original
    assert caught.value.exit_status == 143


def test_a_complete_run_says_so_and_goes_on_when_it_is_given_more(train, tmp_path, capsys):
    run = tmp_path / "run"
    train(f"run_dir={run}", "train.max_steps=2", "optimizer=sgd")
    before, written = lines(run), (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    capsys.readouterr()
    call_command("train", [f"resume={run}"])
    told = capsys.readouterr().out
    assert "the run is complete: its 2 steps are made" in told
    assert "best of the run, at step 2:" in told
    assert lines(run) == before
    assert (run / "checkpoints" / "last.pt").stat().st_mtime_ns == written
    # Three epochs of 12 images; the earlier end would still be the second step.
    call_command("train", [f"resume={run}", "train.max_steps=null", "train.epochs=1"])
    assert [line["step"] for line in lines(run)] == [1, 2, 2, 3, 3]
    assert [line["step"] for line in lines(run) if "eval/AP" in line] == [2, 3]
    assert checkpoint(run)["progress"]["step"] == 3
    assert len(json.loads((run / "manifest.json").read_text())["earlier_starts"]) == 2


def test_a_run_from_pretrained_weights_goes_on_without_their_file_and_with_its_frozen_stages(train, tmp_path):
    run, file = tmp_path / "run", tmp_path / "resnet18.pth"
    torch.manual_seed(7)
    torch.save(ResNet(18, norm="frozen_bn").state_dict(), file)
    stem = torch.load(file, weights_only=True)["conv1.weight"]
    train(f"run_dir={run}", f"model.weights={file}", "model.norm=auto", "train.ema_decay=0.9", "train.max_steps=1",
          "optimizer=sgd")  # fmt: skip
    file.unlink()
    first = checkpoint(run)
    call_command("train", [f"resume={run}", "train.max_steps=2"])
    second = checkpoint(run)
    for state in (first["model"], second["model"], second["ema"]["model"]):
        assert torch.equal(state["backbone.conv1.weight"], stem)
        assert torch.equal(state["backbone.layer1.0.conv1.weight"], first["model"]["backbone.layer1.0.conv1.weight"])
    moved = "backbone.layer4.1.conv2.weight"
    assert not torch.equal(first["model"][moved], second["model"][moved])
    assert "norm: frozen_bn" in (run / "config.yaml").read_text()


# Splitting a batch


def test_micro_batches_give_the_weights_of_the_whole_batch(train, tmp_path):
    train(f"run_dir={tmp_path / 'one'}")
    train(f"run_dir={tmp_path / 'four'}", "train.accumulate=4")
    # float32: a ReLU at its kink passes its gradient or not, by the rounding of another batch size.
    assert_same_weights(checkpoint(tmp_path / "one")["model"], checkpoint(tmp_path / "four")["model"], tolerance=1e-3)


def images_of_rank(rank, *, step):
    """Positions in the data set of what a rank of two gets in a step of 4 of the 12 images."""
    batches = iter(KeyedBatchSampler(12, batch_size=4, rank=rank, world_size=2, seed=0))
    return [key.index for key in [next(batches) for _ in range(step + 1)][step]]


def test_two_processes_give_the_weights_of_one_also_where_one_has_only_empty_images(root, emptied, tmp_path):
    """And where there are fewer images to evaluate than processes: one batch of four is one rank's."""
    alone = images_of_rank(1, step=0)
    overrides = [*emptied(train=alone), "optimizer=sgd", "optimizer.lr_batch_size=null", "train.ema_decay=0.9",
                 "train.max_steps=3"]  # fmt: skip
    dataset = DetectionDataset(None, tmp_path / "train.json", name="train", split="train")
    objects = {rank: [len(dataset.targets(i).boxes) for i in images_of_rank(rank, step=0)] for rank in (0, 1)}
    assert objects[1] == [0, 0], "the second rank has nothing but background in the first step"
    assert sum(objects[0]) > 0
    assert any(len(dataset.targets(i).boxes) for i in images_of_rank(1, step=1))

    call_command("train", [*overrides, f"run_dir={tmp_path / 'one'}"])
    torchrun(root, [*overrides, f"run_dir={tmp_path / 'two'}"])
    one, two = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two")
    assert_same_weights(one["model"], two["model"], tolerance=1e-5)
    assert_same_weights(one["ema"]["model"], two["ema"]["model"], tolerance=1e-5)
    assert one["progress"] == two["progress"]
    for first, second in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & {"train/loss", "train/grad_norm", "train/lr", "eval/loss"}:
            assert first[name] == pytest.approx(second[name], rel=1e-4), name


def torchrun(root, overrides):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "train.py", *overrides],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


# Unusual ends


def test_validation_images_without_any_object_give_a_run_without_a_best(emptied, tmp_path, capsys):
    run = tmp_path / "run"
    overrides = [*emptied(val=range(4)), f"run_dir={run}", "train.max_steps=2", "eval.every=1", "train.patience=1"]
    call_command("train", overrides)
    assert [path.name for path in sorted((run / "checkpoints").glob("*.pt"))] == ["last.pt"]
    assert [line["eval/AP"] for line in lines(run) if "eval/AP" in line] == [None, None]
    assert lines(run)[-1]["eval/loss"] > 0
    assert json.loads((run / "eval" / "val" / "metrics.json").read_text())["AP"] is None
    assert "the last evaluation:" in capsys.readouterr().out


def test_a_diverged_run_says_so_and_keeps_its_last_good_checkpoint(train, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(DivergedError, match="not finite") as caught:
        train(f"run_dir={run}", "optimizer=sgd", "optimizer.lr=1e30", "optimizer.lr_batch_size=null",
              "schedule.warmup=0", "checkpoint.every=1", "train.max_steps=8")  # fmt: skip
    assert caught.value.exit_status == 4
    state = checkpoint(run)
    assert 1 <= state["progress"]["step"] < 8
    for name, value in state["model"].items():
        assert value.isfinite().all(), name
    assert "not finite" in (run / "train.log").read_text()


def test_ctrl_c_saves_and_exits_with_130(small, root, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "train.py", *small, "optimizer=sgd", "train.workers=1", "train.max_steps=100000",
         f"run_dir={run}"],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") >= 2):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no step in two minutes"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader's processes get it too
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"resume={run}" in errors
    state = checkpoint(run)
    assert state["progress"]["step"] >= 2
    assert state["progress"]["step"] == lines(run)[-1]["step"]
