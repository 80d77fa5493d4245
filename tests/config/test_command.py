"""The entry point, in this process with a function of the test's own, and as the user starts it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from retina.config.command import Command, call_command, run_command
from retina.errors import ConfigError, DivergedError, Interrupted
from retina.settings import RunSettings
from tests.jobs import tree_of


class Runs:
    """Stands for the training: keeps what it was given, and fails as it is told to."""

    def __init__(self) -> None:
        self.settings: list[RunSettings] = []
        self.sections: list[dict[str, Any]] = []
        self.command_lines: list[list[str]] = []
        self.errors: dict[int, BaseException] = {}  # by seed

    def __call__(self, settings: RunSettings, sections: dict[str, Any]) -> None:
        self.settings.append(settings)
        self.sections.append(sections)
        self.command_lines.append(list(sys.argv))
        if (error := self.errors.get(settings.train.seed)) is not None:
            raise error


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Take the place of the training."""
    runs = Runs()
    monkeypatch.setattr("retina.commands.train.run", runs)
    return runs


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, and see that nothing is left there by anyone but the test."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_run_gets_its_settings_and_sections_and_nothing_is_written(empty_folder: Path, runs: Runs) -> None:
    assert run_command("train", ["train.seed=3", "loss/box=eiou"]) == 0
    ((settings,), (sections,)) = runs.settings, runs.sections
    assert (settings.train.seed, settings.dataset.fraction, sections["dataset"]["name"]) == (3, 1.0, "shapes")
    assert sections["loss"]["box"]["_target_"].endswith("EIoULoss")
    assert "train" not in sections
    assert "fraction" not in sections["dataset"]
    assert [*empty_folder.iterdir()] == []
    assert Path.cwd() == empty_folder


def test_a_mistake_is_told_before_anything_runs(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("train", ["model.backbone.depht=50", "optimizer.lr=fast"]) == 2
    assert runs.settings == []
    told = capsys.readouterr().err
    assert "did you mean model.backbone.depth?" in told
    assert "optimizer.lr must be a number, got 'fast'" in told


def test_a_sweep_runs_every_job_in_its_own_directory_and_a_failure_is_the_exit_status(
    empty_folder: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.errors[1] = DivergedError("the loss is not finite")
    assert run_command("train", ["train.seed=1,2", "-m", "run_dir=runs/sweep"]) == 4
    assert [settings.run_dir for settings in runs.settings] == ["runs/sweep/0", "runs/sweep/1"]
    told = capsys.readouterr().err
    assert "error: the loss is not finite" in told
    assert "failed: train.seed=1 run_dir=runs/sweep\n" in told
    assert [*empty_folder.iterdir()] == []


def test_a_signal_ends_a_sweep(runs: Runs) -> None:
    runs.errors[1] = Interrupted("stopped", signal_number=15)
    assert run_command("train", ["-m", "train.seed=1,2"]) == 143
    assert len(runs.settings) == 1


def test_ctrl_c_is_130_and_a_bug_is_1(tmp_path: Path, runs: Runs, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runs.errors |= {1: KeyboardInterrupt(), 2: ZeroDivisionError("oh")}
    assert run_command("train", ["train.seed=1"]) == 130
    assert run_command("train", ["train.seed=2"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_help_and_cfg_run_nothing(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("train", ["--help"]) == 0
    assert "python train.py dataset=coco" in capsys.readouterr().out
    assert run_command("train", ["--cfg", "job", "dataset=coco"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == tree_of("train", "dataset=coco")
    assert runs.settings == []


def test_resuming_runs_the_saved_configuration(empty_folder: Path, runs: Runs, capsys) -> None:
    (empty_folder / "mine" / "checkpoints").mkdir(parents=True)
    (empty_folder / "mine" / "checkpoints" / "last.pt").touch()
    (empty_folder / "mine" / "config.yaml").write_text(yaml.safe_dump(tree_of("train", "optimizer=sgd")))
    assert run_command("train", ["resume=mine", "optimizer.momentum=0.5"]) == 0
    assert (runs.sections[0]["optimizer"]["momentum"], runs.settings[0].resume) == (0.5, "mine")
    assert run_command("train", ["resume=mine", "--cfg", "job"]) == 0
    assert "momentum: 0.9" in capsys.readouterr().out
    assert run_command("train", ["resume=mine", "optimizer=adamw"]) == 2
    assert run_command("train", ["resume=mine", "-m", "train.seed=1,2"]) == 2
    assert len(runs.settings) == 1


def test_a_folder_of_one_s_own_adds_options(tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "tiny.yaml").write_text("# @package _global_\ntrain: {seed: 77}\n")
    assert run_command("train", ["-cd", str(tmp_path / "mine"), "experiment=tiny"]) == 0
    assert runs.settings[0].train.seed == 77
    assert run_command("train", ["-cd", str(tmp_path / "nowhere"), "experiment=tiny"]) == 2


@pytest.mark.parametrize("words", [[], ["-m", "train.seed=1,2"], ["hydra.verbose=true"]], ids=str)
def test_a_data_set_without_a_recipe_takes_that_of_custom_data(tmp_path: Path, runs: Runs, root, words) -> None:
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    text = (root / "configs" / "dataset" / "shapes.yaml").read_text()
    (tmp_path / "mine" / "dataset" / "other.yaml").write_text(text)
    assert run_command("train", ["-cd", str(tmp_path / "mine"), "dataset=other", *words]) == 0
    assert {settings.train.epochs for settings in runs.settings} == {30}  # of configs/recipe/custom.yaml
    assert len(runs.settings) == (2 if "-m" in words else 1)


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


# A wrong word of every command, and the right one.
MISSPELT = {
    "train optimizer.lrr=1": "optimizer.lr", "evaluate bath_size=1": "batch_size", "predict sorce=x": "source",
    "anchors fit.gaol=share": "fit.goal", "benchmark benchmark.num_boxs=3": "benchmark.num_boxes",
    "convert_dataset imags=copy": "images", "doctor doctor.num_picture=3": "doctor.num_pictures",
    "download yera=2007": "year", "loss_lab max_image=3": "max_images", "show_batch batchs=3": "batches",
}  # fmt: skip


def test_torch_is_not_imported_when_a_mistake_is_told(root: Path, empty_folder: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from retina.config.command import run_command\n"
        "for name, word in (line.split() for line in sys.argv[1:]):\n"
        "    assert run_command(name, [word]) == 2\n"
        "print(sorted({'torch', 'torchvision', 'albumentations', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    done = _start("-c", code, *MISSPELT, cwd=empty_folder)
    assert done.stdout == "[]\n"
    for misspelt in MISSPELT.values():
        assert f"did you mean {misspelt}?" in done.stderr


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


@pytest.mark.parametrize("typed", [["train.seed=3"], ["-m", "train.seed=3"], ["train.seed=3", "hydra.verbose=false"]])
def test_a_job_sees_the_command_as_it_was_typed(typed, runs: Runs, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *typed])
    assert run_command("train") == 0
    assert runs.command_lines == [["train.py", *typed]]


# Composed once


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time that Hydra composes a configuration."""
    names: list[str] = []
    compose = ConfigLoaderImpl.load_configuration

    def noted(self: ConfigLoaderImpl, config_name: str | None, *rest: Any, **named: Any) -> DictConfig:
        names.append(str(config_name))
        return compose(self, config_name, *rest, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", noted)
    return names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", []),
        ("train", ["dataset=coco", "loss/box=eiou", "optimizer.lr=0.1", "train.epochs=null"]),
        ("train", ["optimizer.lr=fast", "train.batch_size=0"]),
        ("train", ["--cfg", "job"]),
        ("evaluate", ["ckpt=.", "dataset=bccd"]),
        ("anchors", ["fit.goal=share"]),
        ("predict", ["ckpt=.", "source=."]),
    ],
)
def test_a_command_composes_its_configuration_once(name, words, composed, monkeypatch) -> None:
    module = Command(name).module
    monkeypatch.setattr(f"{module}.run", lambda settings, sections: None)
    assert run_command(name, words) in (0, 2)
    assert composed == [name]


def test_a_resumed_run_composes_nothing(empty_folder: Path, runs: Runs, composed) -> None:
    (empty_folder / "mine" / "checkpoints").mkdir(parents=True)
    (empty_folder / "mine" / "checkpoints" / "last.pt").touch()
    (empty_folder / "mine" / "config.yaml").write_text(yaml.safe_dump(tree_of("train")))
    composed.clear()
    assert run_command("train", ["resume=mine", "train.max_steps=5"]) == 0
    assert (composed, runs.settings[0].train.max_steps) == ([], 5)


def test_words_from_python_are_those_of_the_command_line(runs: Runs) -> None:
    call_command("train", ["train.seed=4"])
    assert runs.settings[0].train.seed == 4
    assert runs.command_lines == [["train", "train.seed=4"]]
    with pytest.raises(ConfigError, match="optimizer.lr must be a number"):
        call_command("train", ["optimizer.lr=fast"])
    with pytest.raises(LookupError, match="there is no command 'tarin'"):
        call_command("tarin", [])


# Former names


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["loss/box=l1", "loss.box._target_=retina.detection.losses.box_overlap.IoULoss"], "overlap.IoULoss"),
        (["loss/box=l1", "loss.box._target_=retina.detection.losses.box.GIoULoss"], "overlap.GIoULoss"),
    ],
)
def test_a_class_may_be_typed_by_a_former_name(words, target, runs: Runs) -> None:
    assert run_command("train", words) == 0
    assert runs.sections[0]["loss"]["box"]["_target_"] == f"retina.detection.losses.{target}"


def test_a_setting_may_be_typed_by_its_former_name(runs: Runs, capsys) -> None:
    for words in (["loss.box.focal_gamma=1.5"], ["-m", "loss.box.focal_gamma=1.5"]):
        assert run_command("train", words) == 0, capsys.readouterr().err
    assert [settings.loss.focal_gamma for settings in runs.settings] == [1.5] * 2
    assert not any("focal_gamma" in sections["loss"]["box"] for sections in runs.sections)
    assert run_command("train", ["loss/box=sum", "+loss.box.terms.l1.focal_gamma=1"]) == 2
    told = capsys.readouterr().err
    assert "there is no setting loss.box.terms.l1.focal_gamma" in told
    assert "did you mean loss.focal_gamma?" in told


# Hydra's own features


def test_a_sweep_of_groups_and_values_runs_every_combination(runs: Runs) -> None:
    assert run_command("train", ["-m", "loss/box=l1,giou", "optimizer.lr=0.1,0.2", "run_dir=sweep"]) == 0
    found = [(s["loss"]["box"]["_target_"].rpartition(".")[2], s["optimizer"]["lr"]) for s in runs.sections]
    assert found == [("L1Loss", 0.1), ("L1Loss", 0.2), ("GIoULoss", 0.1), ("GIoULoss", 0.2)]
    assert [settings.run_dir for settings in runs.settings] == [f"sweep/{number}" for number in range(4)]


def test_values_may_refer_to_others_and_to_the_environment(runs: Runs, monkeypatch) -> None:
    monkeypatch.setenv("RETINA_TEST_ROOT", "/images")
    words = ["dataset.root=${oc.env:RETINA_TEST_ROOT}/shapes", "eval.batch_size=${train.batch_size}"]
    assert run_command("train", [*words, "train.batch_size=2"]) == 0
    assert runs.sections[0]["dataset"]["root"] == "/images/shapes"
    assert runs.settings[0].eval.batch_size == 2


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["--cfg", "hydra"], "job_logging:"),
        (["--cfg", "all"], "hydra:"),
        (["--cfg", "job", "--resolve", "eval.batch_size=${train.batch_size}"], "\n  batch_size: 4\n"),
        (["--cfg", "job", "--package", "optimizer"], "lr: 0.001"),
        (["--info", "searchpath"], "Provider"),
        (["--hydra-help"], "Hydra"),
    ],
)
def test_what_hydra_shows_is_shown_and_nothing_is_run(flags, shown, runs: Runs, capsys) -> None:
    assert run_command("train", flags) == 0
    assert shown in capsys.readouterr().out
    assert runs.settings == []


def test_settings_of_hydra_s_own_are_taken(empty_folder: Path, runs: Runs) -> None:
    assert run_command("train", ["hydra.run.dir=made", "hydra.output_subdir=kept", "train.seed=5"]) == 0
    assert runs.settings[0].train.seed == 5
    assert (empty_folder / "made" / "kept" / "overrides.yaml").read_text() == "- train.seed=5\n"
    assert run_command("train", ["hydra.run.dir=made", "optimizer.lr=fast"]) == 2
    assert len(runs.settings) == 1


LAUNCHER = """
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore
from hydra.core.utils import run_job
from hydra.plugins.launcher import Launcher

@dataclass
class Conf:
    _target_: str = "hydra_plugins.backwards.launcher.Backwards"

ConfigStore.instance().store(group="hydra/launcher", name="backwards", node=Conf)

class Backwards(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        done = []
        for number, overrides in reversed(list(enumerate(job_overrides, initial_job_idx))):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            config.hydra.job.id, config.hydra.job.num = str(number), number
            done.append(run_job(self.task, config, "hydra.sweep.dir", "hydra.sweep.subdir", self.context))
        print("launched backwards")
        return done
"""


def test_a_launcher_plugin_runs_the_jobs_of_a_sweep(tmp_path: Path, runs: Runs, monkeypatch, capsys) -> None:
    (tmp_path / "path" / "hydra_plugins" / "backwards").mkdir(parents=True)
    (tmp_path / "path" / "hydra_plugins" / "backwards" / "__init__.py").touch()
    (tmp_path / "path" / "hydra_plugins" / "backwards" / "launcher.py").write_text(LAUNCHER)
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.setattr(Singleton, "_instances", {k: v for k, v in Singleton._instances.items() if k is not Plugins})
    words = ["-m", "hydra/launcher=backwards", "train.seed=1,2", "run_dir=sweep"]
    assert run_command("train", words) == 0, capsys.readouterr().err
    assert "launched backwards" in capsys.readouterr().out
    assert [(s.train.seed, s.run_dir) for s in runs.settings] == [(2, "sweep/1"), (1, "sweep/0")]
