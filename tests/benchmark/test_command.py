"""What ``tools/benchmark.py`` builds of a configuration, and what it prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from retina.benchmark.command import PLAIN, Measured, canvas_of, num_images, prepare, switched_off
from retina.benchmark.speed import Variant
from retina.benchmark.steps import Detection, TrainStep
from retina.config.command import call_command
from retina.settings import EvalSettings, ImageSettings, RunSettings, TrainSettings
from tests.jobs import job, tree_of

TINY = [
    "image.short_side=96", "image.long_side=128", "train.batch_size=2", "eval.batch_size=1", "train.device=cpu",
    "train.precision=float32", "model.fpn_channels=32", "model.tower_channels=32", "benchmark.repeats=1",
    "benchmark.num_classes=3", "benchmark.num_boxes=4", "benchmark.memory=false",
]  # fmt: skip


def measured(*overrides: str) -> Measured:
    settings, sections = job("benchmark", *TINY, *overrides)
    return Measured(settings, sections, settings.benchmark.num_boxes, settings.benchmark.num_classes)


def test_every_recipe_is_measured_without_its_data() -> None:
    for dataset in ("shapes", "coco", "bccd", "custom"):
        assert job("benchmark", f"dataset={dataset}")[1]["dataset"]["name"] == dataset


def test_settings_of_the_benchmark_are_those_of_training_and_its_own() -> None:
    train, benchmark = tree_of("train"), tree_of("benchmark")
    own = benchmark.pop("benchmark")
    assert benchmark == train
    assert set(own) == {"num_boxes", "num_classes", "repeats", "memory"}


def test_every_fast_path_that_is_on_can_be_switched_off() -> None:
    assert switched_off(measured("dataset=coco")) == PLAIN
    dense = measured("dataset=coco", "anchors.assign=dense")
    assert switched_off(dense) == {name: value for name, value in PLAIN.items() if name != "anchors.assign"}


def test_a_loss_without_the_switch_is_left_as_it_is() -> None:
    other = measured("dataset=coco")
    other.sections["loss"]["classification"] = {"_target_": "torch.nn.BCEWithLogitsLoss"}
    assert set(PLAIN) - set(switched_off(other)) == {"loss.classification.implementation"}


@pytest.mark.parametrize(
    ("short", "long", "canvas"), [(800, 1333, (800, 1088)), (512, 512, (512, 512)), (100, 133, (128, 160))]
)
def test_images_are_four_by_three_and_padded(short: int, long: int, canvas: tuple[int, int]) -> None:
    assert canvas_of(RunSettings(image=ImageSettings(short, long))) == canvas


def test_a_step_is_one_micro_batch() -> None:
    settings = RunSettings(train=TrainSettings(batch_size=16, accumulate=4), eval=EvalSettings(batch_size=8))
    assert num_images(settings, Variant("train", "float32")) == 4
    assert num_images(settings, Variant("detect", "float32")) == 8


@pytest.mark.parametrize("changes", [{}, *({path: value} for path, value in PLAIN.items())], ids=str)
def test_a_step_without_a_fast_path_gives_the_same_loss(changes) -> None:
    losses = [prepare(measured(), Variant("train", "float32", change))() for change in ({}, changes)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_only_frozen_batch_norm_has_a_folded_form_to_switch_off() -> None:
    fold = "model.backbone.fold_norm"
    assert set(switched_off(measured())) == {*PLAIN} - {fold}
    assert set(switched_off(measured("model.norm=frozen_bn"))) == {*PLAIN}


def test_what_is_switched_off_is_off() -> None:
    step = prepare(measured(), Variant("train", "float32", dict(PLAIN)))
    assert isinstance(step, TrainStep)
    assert step.assigner.assign == "dense"
    assert step.criterion.classification.implementation == "plain"
    assert step.model.box_tower == "dense"
    assert not step.optimizer.defaults["fused"]
    assert step.model.class_subnet.predict.weight.is_contiguous()


def test_weights_stay_from_step_to_step() -> None:
    step = prepare(measured(), Variant("train", "float32"))
    before = [parameter.clone() for parameter in step.model.parameters()]
    step()
    assert all(map(torch.equal, before, step.model.parameters()))


def test_detection_finds_the_synthetic_objects() -> None:
    detection = prepare(measured(), Variant("detect", "float32"))
    assert isinstance(detection, Detection)
    (found,) = detection()
    assert len(found) >= 4
    assert 0.88 < found.scores[0] < 0.9001


def test_the_table_has_a_row_for_every_variant(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("retina.benchmark.command.convolution_peak", lambda machine: 1e11)
    call_command("benchmark", TINY)
    shown = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in shown.splitlines() if line.startswith("| ")]
    assert rows == [
        "what", "train", *(f"train {path}={str(value).lower()}" for path, value in switched_off(measured()).items()),
        "detect", "detect model.box_tower=dense", "detect train.channels_last=false",
    ]  # fmt: skip
    assert "2 image(s) of 96 x 128 a step, 4 objects an image, 3 classes" in shown
    assert "100 GFLOP/s in float32" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_measures_memory_too(root) -> None:
    # With fast paths off there are few rows, and a process for each.
    paths = ("anchors.assign", "loss.classification.implementation", "model.box_tower", "train.channels_last")
    plain = [f"{path}={str(PLAIN[path]).lower()}" for path in paths]
    command = [sys.executable, "tools/benchmark.py", *TINY[:-1], *plain]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first = next(line for line in done.stdout.splitlines() if line.startswith("| train "))
    assert float(first.split("|")[-2]) > 1
