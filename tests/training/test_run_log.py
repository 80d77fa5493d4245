from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retina import distributed
from retina.errors import RetinaError
from retina.training.run_log import RunLog, drop_steps_after
from retina.training.tensorboard import Panels


def lines_of(run_dir) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def scalar_steps(run_dir, name: str) -> list[int]:
    return [event.step for event in EventAccumulator(str(run_dir / "tensorboard")).Reload().Scalars(name)]


def test_the_same_names_and_numbers_are_in_every_place(tmp_path):
    stream = io.StringIO()
    with RunLog(tmp_path, num_steps=100, stream=stream) as log:
        log.scalars(20, 1, {"train/loss": np.float32(0.5), "train/lr": 0.01})
        assert lines_of(tmp_path) == [{"step": 20, "epoch": 1, "train/loss": 0.5, "train/lr": 0.01}]  # at once
        log.scalars(40, 2, {"eval/AP": 0.25, "eval/APs": None})
    assert lines_of(tmp_path)[1] == {"step": 40, "epoch": 2, "eval/AP": 0.25, "eval/APs": None}
    assert "train/loss 0.5  train/lr 0.01" in stream.getvalue()
    assert "eval/AP 0.2500  eval/APs -" in stream.getvalue()
    assert scalar_steps(tmp_path, "train/loss") == [20]
    assert scalar_steps(tmp_path, "eval/AP") == [40]
    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "tensorboard", "train.log"]


def test_numbers_of_panels_are_kept_but_not_told(tmp_path):
    stream = io.StringIO()
    with RunLog(tmp_path, num_steps=100, stream=stream) as log:
        log.panels(20, 1, Panels({}, {}, {"loss_lab/a": 0.5, "loss_lab/b": None, "loss_lab/c": float("nan")}))
    kept = {"step": 20, "epoch": 1, "loss_lab/a": 0.5, "loss_lab/b": None, "loss_lab/c": None}
    assert lines_of(tmp_path) == [kept]
    assert scalar_steps(tmp_path, "loss_lab/a") == [20]
    assert "loss_lab" not in stream.getvalue() + (tmp_path / "train.log").read_text()


def test_what_is_not_finite_is_null_so_that_any_reader_of_json_can_read_it(tmp_path):
    with RunLog(tmp_path, num_steps=100, stream=io.StringIO()) as log:
        log.scalars(1, 0, {"train/loss": float("nan"), "train/grad_norm": float("inf")})
    assert lines_of(tmp_path) == [{"step": 1, "epoch": 0, "train/loss": None, "train/grad_norm": None}]


def test_a_resumed_run_has_every_step_once(tmp_path):
    with RunLog(tmp_path, num_steps=100, stream=io.StringIO()) as log:
        for step in (10, 20, 30):
            log.scalars(step, 0, {"train/loss": 1.0})
    with RunLog(tmp_path, num_steps=100, resume_step=20, stream=io.StringIO()) as log:
        log.scalars(30, 0, {"train/loss": 2.0})
    assert [(line["step"], line["train/loss"]) for line in lines_of(tmp_path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert scalar_steps(tmp_path, "train/loss") == [10, 20, 30]


def test_a_line_cut_short_by_a_crash_is_dropped_on_resuming(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 10, "epoch": 0}\n{"step": 20, "epoch": 0}\n{"step": 15, "ep')
    drop_steps_after(metrics, 15)
    assert metrics.read_text() == '{"step": 10, "epoch": 0}\n'
    drop_steps_after(tmp_path / "absent.jsonl", 15)
    assert not (tmp_path / "absent.jsonl").exists()


def test_other_ranks_write_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with RunLog(tmp_path, num_steps=100) as log:
        log.scalars(1, 0, {"train/loss": 1.0})
        log.advance(1, 0)
        log.say("a")
        log.pictures("a", [np.zeros((2, 2, 3), np.uint8)], 1)
        log.configuration("a: 1")
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("is_main", [True, False])
def test_an_error_inside_leaves_its_traceback_in_the_log_only_and_names_that(tmp_path, is_main, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: is_main)
    stream = io.StringIO()
    with pytest.raises(RetinaError) as caught, RunLog(tmp_path, num_steps=100, stream=stream):
        raise RetinaError("no such image")
    log = (tmp_path / "train.log").read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert "no such image" in log
    assert stream.getvalue() == ""
    assert caught.value.log_file == tmp_path / "train.log"


def test_an_error_that_could_not_be_kept_names_no_log(tmp_path):
    log = RunLog(tmp_path, num_steps=100, stream=io.StringIO())
    (tmp_path / "train.log").unlink()
    (tmp_path / "train.log").symlink_to("/dev/full")
    with pytest.raises(ValueError, match="a bug") as caught, log:
        raise ValueError("a bug")
    assert not hasattr(caught.value, "log_file")


def test_warnings_of_the_library_are_said_and_kept(tmp_path):
    stream = io.StringIO()
    with RunLog(tmp_path, num_steps=100, stream=stream):
        logging.getLogger("retina.training.checkpoint").warning("%s has no sha256", "last.pt")
    logging.getLogger("retina.training.checkpoint").warning("after the run")
    assert stream.getvalue() == "warning: last.pt has no sha256\n"
    assert "warning: last.pt has no sha256" in (tmp_path / "train.log").read_text()


def test_pictures_and_configuration_are_in_tensorboard(tmp_path):
    with RunLog(tmp_path, num_steps=100, stream=io.StringIO()) as log:
        log.pictures("train/first_batch", [np.zeros((4, 4, 3), np.uint8)], 0)
        log.configuration("model: a")
    tags = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()
    assert tags["images"] == ["train/first_batch/1"]
    assert "configuration/text_summary" in tags["tensors"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(RetinaError, match=r"the run's log cannot be written: .*metrics\.jsonl: No such file") as caught:
        RunLog(tmp_path / "absent", num_steps=100, stream=io.StringIO())
    assert "resume=<run directory>" in caught.value.fix


def test_a_full_disk_is_told(tmp_path):
    (tmp_path / "train.log").symlink_to("/dev/full")
    log = RunLog(tmp_path, num_steps=100, stream=io.StringIO())
    with pytest.raises(RetinaError, match="No space left on device"):
        log.say("a")


def test_importing_the_run_log_does_not_import_tensorboard(root):
    code = "import sys, retina.training.run_log; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
