"""The entry point, in this process with a function of the test's own, and as the user starts it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from retina.config.command import run_command
from retina.config.compose import compose_config
from retina.errors import DivergedError, Interrupted


class Runs:
    """Stands for the training: keeps the configurations it was given and fails as it is told to."""

    def __init__(self, **errors: BaseException) -> None:
        self.configs: list[DictConfig] = []
        self.errors = errors

    def __call__(self, config: DictConfig) -> None:
        self.configs.append(config)
        if (error := self.errors.get(f"seed{config.train.seed}")) is not None:
            raise error


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, and see that nothing is left there by anyone but the test."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_function_gets_the_composed_configuration_and_nothing_is_written(empty_folder: Path) -> None:
    runs = Runs()
    assert run_command("train", runs, arguments=["train.seed=3", "loss/box=eiou"]) == 0
    (config,) = runs.configs
    assert (config.train.seed, config.dataset.name) == (3, "shapes")
    assert config.loss.box._target_.endswith("EIoULoss")
    assert [*empty_folder.iterdir()] == []
    assert Path.cwd() == empty_folder


def test_a_mistake_is_told_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runs = Runs()
    assert run_command("train", runs, arguments=["model.backbone.depht=50", "optimizer.lr=fast"]) == 2
    assert runs.configs == []
    told = capsys.readouterr().err
    assert "did you mean model.backbone.depth?" in told
    assert "optimizer.lr must be a number, got 'fast'" in told


def test_a_sweep_runs_every_job_in_its_own_directory_and_a_failure_is_the_exit_status(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(seed1=DivergedError("the loss is not finite"))
    status = run_command("train", runs, arguments=["train.seed=1,2", "-m", "run_dir=runs/sweep"])
    assert status == 4
    assert [config.run_dir for config in runs.configs] == ["runs/sweep/0", "runs/sweep/1"]
    told = capsys.readouterr().err
    assert "error: the loss is not finite" in told
    assert "failed: train.seed=1 run_dir=runs/sweep\n" in told
    assert [*empty_folder.iterdir()] == []


def test_a_signal_ends_a_sweep() -> None:
    runs = Runs(seed1=Interrupted("stopped", signal_number=15))
    assert run_command("train", runs, arguments=["-m", "train.seed=1,2"]) == 143
    assert len(runs.configs) == 1


def test_ctrl_c_is_130_and_a_bug_is_1(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runs = Runs(seed1=KeyboardInterrupt(), seed2=ZeroDivisionError("oh"))
    assert run_command("train", runs, arguments=["train.seed=1"]) == 130
    assert run_command("train", runs, arguments=["train.seed=2"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_failure_is_kept_in_the_log_of_the_directory_that_the_run_made(empty_folder: Path) -> None:
    def make_and_fail(config: DictConfig) -> None:
        Path("made").mkdir()
        config.run_dir = "made"
        raise DivergedError("the loss is not finite")

    assert run_command("train", make_and_fail, arguments=[]) == 4
    assert "DivergedError" in (empty_folder / "made" / "train.log").read_text(encoding="utf-8")


def test_help_and_cfg_run_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    runs = Runs()
    assert run_command("train", runs, arguments=["--help"]) == 0
    assert "python train.py dataset=coco" in capsys.readouterr().out
    assert run_command("train", runs, arguments=["--cfg", "job", "dataset=coco"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert shown == compose_config("train", ["dataset=coco"]).config
    assert runs.configs == []


def test_resuming_runs_the_saved_configuration(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_folder / "mine" / "checkpoints").mkdir(parents=True)
    (empty_folder / "mine" / "checkpoints" / "last.pt").touch()
    saved = compose_config("train", ["optimizer=sgd"]).config
    (empty_folder / "mine" / "config.yaml").write_text(OmegaConf.to_yaml(saved), encoding="utf-8")
    runs = Runs()
    assert run_command("train", runs, arguments=["resume=mine", "optimizer.momentum=0.5"]) == 0
    assert (runs.configs[0].optimizer.momentum, runs.configs[0].resume) == (0.5, "mine")
    assert run_command("train", runs, arguments=["resume=mine", "--cfg", "job"]) == 0
    assert "momentum: 0.9" in capsys.readouterr().out
    assert run_command("train", runs, arguments=["resume=mine", "optimizer=adamw"]) == 2
    assert run_command("train", runs, arguments=["resume=mine", "-m", "train.seed=1,2"]) == 2
    assert len(runs.configs) == 1


def test_a_folder_of_one_s_own_adds_options(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "tiny.yaml").write_text("# @package _global_\ntrain: {seed: 77}\n")
    runs = Runs()
    assert run_command("train", runs, arguments=["-cd", str(tmp_path / "mine"), "experiment=tiny"]) == 0
    assert runs.configs[0].train.seed == 77
    assert run_command("train", runs, arguments=["-cd", str(tmp_path / "nowhere"), "experiment=tiny"]) == 2


def _start(*line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_two_mistakes_are_told_in_under_two_seconds(root: Path, empty_folder: Path) -> None:
    seconds = []
    for _ in range(2):  # the first start may have to compile
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = _start(str(root / "train.py"), "model.backbone.depht=50", "optimizer.lr=fast", cwd=empty_folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: the clock on the wall also measures what else the machine does.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 2
    assert "did you mean model.backbone.depth?" in done.stderr
    assert "optimizer.lr must be a number, got 'fast'" in done.stderr
    assert "Traceback" not in done.stderr
    assert min(seconds) < 2


def test_torch_is_not_imported_when_a_mistake_is_told(root: Path, empty_folder: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from train import train\nfrom retina.config.command import run_command\n"
        "status = run_command('train', train, arguments=['optimizer.lr=fast', 'dataset=custom'])\n"
        "print(status, sorted({'torch', 'torchvision', 'albumentations'} & set(sys.modules)))"
    )
    done = _start("-c", code, cwd=empty_folder)
    assert done.stdout == "2 []\n"
    assert "2 mistakes" in done.stderr


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_as_the_user_starts_it(root: Path, empty_folder: Path, script: str) -> None:
    done = _start(str(root / script), "--help", cwd=empty_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python {script}" in done.stdout


def test_evaluation_without_anything_to_evaluate_is_a_mistake(root: Path, empty_folder: Path) -> None:
    done = _start(str(root / "evaluate.py"), cwd=empty_folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ckpt must be given")


def test_a_reader_that_goes_away_is_no_traceback(root: Path, empty_folder: Path) -> None:
    line = f"{sys.executable} {root / 'train.py'} --cfg job | true"
    done = subprocess.run(["bash", "-c", line], cwd=empty_folder, capture_output=True, text=True, timeout=240)
    assert done.stderr == ""


def test_a_job_sees_the_command_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "train.seed=3"])
    seen = []
    assert run_command("train", lambda config: seen.append(list(sys.argv))) == 0
    assert seen == [["train.py", "train.seed=3"]]
