"""What ``tools/loss_lab.py`` writes, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from retina.config.command import call_command
from retina.config.compose import group_options
from retina.config.saved import is_listed
from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.detector import Detector
from retina.errors import CheckpointError, ConfigError, RetinaError
from retina.lab.command import families, rebuild_criterion
from retina.lab.curve_panels import EveryClassification, FocalByGamma
from retina.lab.curves import score_curve
from retina.training.checkpoint import load_checkpoint, save_checkpoint

FAST = ("workers=0", "precision=float32", "device=cpu")


@pytest.fixture(scope="module")
def run_dir(small, tmp_path_factory) -> Path:
    """A run of two steps with losses that remember."""
    folder = tmp_path_factory.mktemp("lab") / "mine"
    overrides = ["train.max_steps=2", "loss/classification=ghm_c", "loss/box=l1_eiou", f"run_dir={folder}"]
    call_command("train", [*small, *overrides])
    return folder


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leave out the curves of all losses, which take seconds."""
    for name in ("CLASS_PANELS", "BOX_PANELS"):
        monkeypatch.setattr(f"retina.lab.command.{name}", ())


def show(*overrides: str) -> None:
    call_command("loss_lab", [*overrides, *FAST])


def test_every_loss_of_the_configurations_is_a_family_and_can_be_built() -> None:
    for part in ("classification", "box"):
        found = families(part)
        assert [family.name for family in found] == group_options()[f"loss/{part}"]
        assert len(found) >= 9
        assert all(family.build() is not None for family in found)
    focal = next(family for family in families("classification") if family.name == "focal")
    assert focal.build(gamma=0.5).gamma == 0.5
    assert focal.build().gamma == 2.0


def test_without_a_checkpoint_every_loss_is_drawn(tmp_path, capsys, monkeypatch) -> None:
    few = partial(score_curve, logits=torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64))
    monkeypatch.setattr("retina.lab.curve_panels.score_curve", few)
    monkeypatch.setattr("retina.lab.curves.NUM_POINTS", 6)
    monkeypatch.setattr("retina.lab.command.CLASS_PANELS", (FocalByGamma, EveryClassification))
    show(f"out={tmp_path / 'lab'}")
    written = json.loads((tmp_path / "lab" / "loss_lab.json").read_text())
    assert (
        list(written["classification_losses"]["classification"]["positive"]) == group_options()["loss/classification"]
    )
    drawn = [name for losses in written["box_losses"].values() for name in losses]
    assert sorted(drawn) == group_options()["loss/box"]
    drawn = sorted(path.stem for path in (tmp_path / "lab").glob("*.svg"))
    assert drawn == ["box_codes", "box_overlaps", "box_sums", "classification", "focal"]
    page = (tmp_path / "lab" / "loss_lab.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == 5
    assert "with 5 pictures" in capsys.readouterr().out


def test_a_checkpoint_is_looked_at_through_its_own_losses_where_it_lies(run_dir, quick, capsys) -> None:
    show(f"ckpt={run_dir}", "max_images=3")
    out = run_dir / "loss_lab"
    findings = json.loads((out / "loss_lab.json").read_text())["findings"]
    assert findings["num_images"] == 3
    assert len(list(out.glob("*.svg"))) == 8
    told = capsys.readouterr().out
    assert "GHMCLoss(bins=30, momentum=0.75), as in training" in told
    assert "shapes val, 3 of 4 images" in told
    assert str(out) in told


def test_another_split_and_another_loss_can_be_asked_for(run_dir, quick, capsys) -> None:
    show(f"ckpt={run_dir}", "split=train", "max_images=2", "loss/classification=focal", "loss.classification.gamma=1.5")
    out = run_dir / "loss_lab-shapes-train"
    findings = json.loads((out / "loss_lab.json").read_text())["findings"]
    assert findings["focal"]["gamma"] == 1.5
    assert "gamma=1.5, implementation=fast), chosen now" in capsys.readouterr().out


def test_densities_that_were_counted_in_training_come_back(run_dir) -> None:
    state, detector = load_checkpoint(run_dir / "checkpoints" / "last.pt"), Detector.load(run_dir)
    criterion, _ = rebuild_criterion(detector, {})
    assert isinstance(criterion.classification, GHMCLoss)
    assert torch.equal(criterion.classification.bin_counts, state["criterion"]["classification.bin_counts"])
    assert float(criterion.classification.bin_counts.sum()) > 0
    with pytest.raises(CheckpointError, match="statistics in the checkpoint do not fit"):
        rebuild_criterion(replace(detector, statistics={"other": torch.zeros(1)}), {})


def test_a_loss_that_is_not_listed_is_never_built(run_dir, tmp_path) -> None:
    detector = Detector.load(run_dir)
    tree = yaml.safe_load(detector.config)
    tree["loss"]["classification"] = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    criterion, about = rebuild_criterion(replace(detector, config=yaml.safe_dump(tree)), {})
    assert not (tmp_path / "made").exists()
    assert isinstance(criterion.classification, FocalLoss)
    assert "standard (the checkpoint's own is not rebuilt" in about["classification loss"]


def test_losses_for_other_scores_than_were_learned_are_refused(run_dir) -> None:
    with pytest.raises(ConfigError, match="has learned sigmoid scores, and .* for softmax scores"):
        show(f"ckpt={run_dir}", "loss/classification=softmax_focal")


def test_data_of_other_classes_is_refused(run_dir, tmp_path) -> None:
    state: dict[str, Any] = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", {**state, "class_names": [*state["class_names"]][::-1]})
    with pytest.raises(ConfigError, match="trained on other classes"):
        show(f"ckpt={tmp_path}")


def test_a_loss_without_a_checkpoint_is_refused() -> None:
    with pytest.raises(ConfigError, match="loss/box was chosen without a checkpoint"):
        show("loss/box=eiou")


def test_a_folder_that_cannot_be_written_is_told(tmp_path, quick) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetinaError, match="the pictures cannot be written"):
        show(f"out={tmp_path / 'file' / 'lab'}")


def test_every_loss_of_the_configurations_is_listed_for_checkpoints() -> None:
    for part in ("classification", "box"):
        used = {loss for family in families(part) for loss in _targets(family.build())}
        assert all(is_listed(f"loss.{part}", loss) for loss in used)


def _targets(module: torch.nn.Module) -> list[str]:
    inner = [name for child in getattr(module, "terms", {}).values() for name in _targets(child)]
    return [f"{type(module).__module__}.{type(module).__qualname__}", *inner]
