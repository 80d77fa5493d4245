"""Losses beside what does not fit them: each wrong pair is told at the start, and the run that was there is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torchvision.ops import box_iou

from retina.boxes import decode_boxes
from retina.config.command import call_command, run_command
from retina.structures import Predictions
from retina.training.checkpoint import load_checkpoint, save_checkpoint
from tests.jobs import job, parts_of

SHORT = ("train.max_steps=1", "dataset.num_train_images=4", "optimizer=sgd", "optimizer.momentum=0")
SOFTMAX = "retina.detection.losses.focal_family.SoftmaxFocalLoss"
FOCAL = "retina.detection.losses.classification.FocalLoss"


@pytest.fixture
def command(capsys) -> Callable[..., tuple[int, str]]:
    """Run a command in this process; its exit status and what it told on stderr."""

    def run(name: str, *arguments: str) -> tuple[int, str]:
        status = run_command(name, arguments)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return status, told

    return run


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory) -> dict[str, Path]:
    """A run of one step for each kind of scores."""
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in ("focal", "softmax_focal")}
    for name, folder in folders.items():
        call_command("train", [*small, *SHORT, f"loss/classification={name}", f"run_dir={folder}"])
    return folders


def contents(run_dir: Path) -> dict[str, bytes]:
    """The configuration and the checkpoint of a run, which a refused command leaves as they are."""
    return {name: (run_dir / name).read_bytes() for name in ("config.yaml", "checkpoints/last.pt")}


def test_a_softmax_run_is_evaluated_and_goes_on_with_its_scores_written_down(trained, command) -> None:
    run = trained["softmax_focal"]
    assert (run / "config.yaml").read_text().count("scores: softmax") == 2
    assert command("evaluate", f"ckpt={run}", "workers=0", "device=cpu", "precision=float32") == (0, "")
    assert command("train", f"resume={run}", "train.max_steps=2") == (0, "")
    assert load_checkpoint(run / "checkpoints" / "last.pt")["progress"]["step"] == 2


@pytest.mark.parametrize(
    ("run", "typed", "status", "told"),
    [
        ("focal", ["loss/classification=softmax_focal"], 2, "chooses a group, but resume= takes the run's own"),
        ("focal", ["~loss.classification.implementation", f"loss.classification._target_={SOFTMAX}"], 3,
         "loss.classification learns softmax scores, but the run has learned sigmoid scores so far"),
        ("focal", ["+postprocess.scores=softmax"], 2, "postprocess.scores=softmax does not fit loss.classification"),
        ("focal", ["loss.classification.alpha=[0.1,0.2]"], 2, "alpha has 2 weights for 6 classes"),
        # One that remembers, beside a checkpoint without its memory.
        ("focal", ["loss.box._target_=retina.detection.losses.running.GHMRLoss"], 3,
         "the checkpoint does not fit this configuration"),
        ("softmax_focal", [f"loss.classification._target_={FOCAL}"], 2,
         "model.scores=softmax does not fit loss.classification, which learns sigmoid scores"),
        ("softmax_focal", ["model.scores=sigmoid"], 2, "model.scores=sigmoid does not fit loss.classification"),
        ("softmax_focal", ["~model.scores", "~postprocess.scores", f"loss.classification._target_={FOCAL}"], 3,
         "loss.classification learns sigmoid scores, but the run has learned softmax scores so far"),
        ("softmax_focal", ["loss.classification.alpha=[1,1,1,1,1,1]"], 2, "7 class outputs of an anchor, the last one"),
    ],
)  # fmt: skip
def test_a_run_does_not_go_on_with_a_loss_that_does_not_fit_it(trained, command, run, typed, status, told) -> None:
    before = contents(trained[run])
    found, error = command("train", f"resume={trained[run]}", "train.max_steps=5", *typed)
    assert found == status
    assert error.startswith("error: ")
    assert told in error
    assert contents(trained[run]) == before


def test_the_start_of_a_run_says_that_its_loss_normalises_itself(small, tmp_path, capsys) -> None:
    note = "note: this loss normalises itself; its value depends on how a batch is split"
    choices = {"loss/box=wiou_v3": True, "loss.focal_gamma=1": True, "loss/box=wiou": False}
    for number, (typed, said) in enumerate(choices.items()):
        call_command("train", [*small, *SHORT, typed, f"run_dir={tmp_path / str(number)}"])
        assert (note in capsys.readouterr().out) is said


def test_a_checkpoint_that_reads_other_scores_than_it_learned_is_not_evaluated(trained, command, tmp_path) -> None:
    state = load_checkpoint(trained["softmax_focal"] / "checkpoints" / "last.pt")
    tree = yaml.safe_load(state["config"])
    tree["postprocess"]["scores"] = "sigmoid"
    state["config"] = yaml.safe_dump(tree)
    save_checkpoint(tmp_path / "last.pt", state)
    status, told = command("evaluate", f"ckpt={tmp_path / 'last.pt'}", "workers=0", "device=cpu")
    assert status == 3
    assert "model.scores is 'softmax' and postprocess.scores 'sigmoid'" in told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["loss.classification.alpha=[0.2,0.3]"], "alpha has 2 weights for 6 classes"),
        (["loss/classification=softmax_focal", "loss.classification.alpha=[0.2,0.2,0.2,0.2,0.2,0.2]"], "6 weights for"),
        (["loss/classification=softmax_focal", "+model.scores=sigmoid"], "model.scores=sigmoid does not fit"),
        (["loss.focal_gamma=-1"], "loss.focal_gamma must be at least 0, got -1"),
        (["loss/box=focal_l1", "loss.box.beta=0.2"], "loss.box.beta must be between 0.367879 and 1, got 0.2"),
        (["loss/box=sum", "+loss.box.terms.l1.focal_gamma=1"], "loss.box.terms.l1.focal_gamma"),
    ],
)
def test_settings_that_do_not_fit_the_data_or_the_loss_are_told_before_anything_is_made(
    small, command, tmp_path, typed, told
) -> None:
    status, error = command("train", *small, *SHORT, *typed, f"run_dir={tmp_path / 'run'}")
    assert status == 2
    assert told in error
    assert not (tmp_path / "run").exists()


def test_weights_of_a_run_of_other_scores_bring_the_backbone_alone(trained, command, small, tmp_path) -> None:
    weights = trained["softmax_focal"] / "checkpoints" / "last.pt"
    run = tmp_path / "run"
    typed = [*small, *SHORT, "optimizer.lr=1e-12", f"model.weights={weights}", f"run_dir={run}"]
    assert command("train", *typed) == (0, "")
    given, made = (load_checkpoint(path)["model"] for path in (weights, run / "checkpoints" / "last.pt"))
    name = "backbone.layer4.1.conv2.weight"
    torch.testing.assert_close(made[name], given[name], rtol=0, atol=1e-6)
    assert len(given["class_subnet.predict.bias"]) > len(made["class_subnet.predict.bias"])


@pytest.mark.parametrize("option", ["quality_focal", "varifocal"])
@pytest.mark.parametrize("box", ["l1", "giou"])
def test_scores_learn_overlaps_whether_boxes_are_computed_somewhere_or_everywhere(small, option, box) -> None:
    found = [overlaps_in_a_step([*small, f"loss/classification={option}", f"loss/box={box}",
                                 f"model.box_tower={tower}"]) for tower in ("lazy", "dense")]  # fmt: skip
    for iou, expected in found:
        assert len(iou) > 0
        assert iou.max() > 0
        torch.testing.assert_close(iou, expected)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)


def overlaps_in_a_step(overrides: list[str]) -> tuple[Tensor, Tensor]:
    """The overlaps that the classification loss was given, and those of the boxes that the network predicted."""
    parts, _ = parts_of(*job("train", *overrides))
    batch = next(iter(parts.make_loader(0)))
    given: list[Tensor] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        given.append(arguments[2])

    parts.criterion.classification.register_forward_pre_hook(note)
    predictions: Predictions = parts.model(batch.images, batch.targets.box_cells)
    parts.criterion(predictions, batch.targets)
    deltas = predictions.deltas_of(batch.targets.positive_index)
    boxes = decode_boxes(deltas.detach(), batch.targets.positive_anchors)
    return given[0], box_iou(boxes, batch.targets.positive_boxes).diagonal()
