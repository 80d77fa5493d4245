"""``resume=``: the saved configuration, and only values on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from retina.config.command import Command
from retina.config.resume import resumed_run
from retina.errors import ConfigError
from tests.jobs import tree_of


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory of an SGD run, as far as resuming looks at it before torch is imported."""
    tree = {**tree_of("train", "optimizer=sgd", "train.epochs=2"), "run_dir": str(tmp_path / "mine")}
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoints" / "last.pt").write_bytes(b"not read here")
    (tmp_path / "mine" / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return tmp_path / "mine"


def resumed(run_dir: Path, *words: str) -> dict[str, Any]:
    return Command("train").read_job([f"resume={run_dir}", *words]).tree


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["resume=runs/mine", "train.epochs=3"], "runs/mine"),
        (["train.epochs=3"], None),
        (["resume=null"], None),
        (["resume='runs/a b'"], "runs/a b"),
    ],
)
def test_the_run_to_go_on_with_is_found_among_the_overrides(overrides: list[str], expected: str | None) -> None:
    assert resumed_run(overrides) == expected


def test_the_saved_configuration_is_taken_with_the_values_typed_now_on_top(run_dir: Path) -> None:
    tree = resumed(run_dir, "train.epochs=5", "optimizer.momentum=0.8")
    assert (tree["train"]["epochs"], tree["optimizer"]["momentum"]) == (5, 0.8)
    assert tree["optimizer"]["_target_"].endswith("build_sgd")
    assert tree["run_dir"] == tree["resume"] == str(run_dir)


def test_a_run_that_was_moved_goes_on_where_it_is_now(run_dir: Path) -> None:
    moved = run_dir.rename(run_dir.with_name("moved"))
    assert resumed(moved)["run_dir"] == str(moved)


def test_every_mistake_is_told_at_once_and_choices_of_groups_are_refused(run_dir: Path) -> None:
    overrides = ["dataset=coco", "train.epoch=3", "optimizer.lr=fast", "run_dir=elsewhere", "train.seed=1,2"]
    with pytest.raises(ConfigError) as told:
        resumed(run_dir, *overrides)
    lines = told.value.what.splitlines()
    assert lines[0] == "5 mistakes in the configuration:"
    assert any("dataset=coco chooses a group" in line for line in lines)
    assert any("did you mean train.epochs?" in line for line in lines)
    assert any("optimizer.lr must be a number, got 'fast'" in line for line in lines)
    assert any("run_dir=elsewhere is not the run" in line for line in lines)
    assert any("train.seed=1,2 is several values" in line for line in lines)


def test_its_own_run_directory_may_be_repeated(run_dir: Path) -> None:
    assert resumed(run_dir, f"run_dir={run_dir}/")["resume"] == str(run_dir)


def test_what_is_no_run_directory_is_told(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run directory"):
        resumed(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=f"fix:   resume={run_dir}"):
        resumed(run_dir / "checkpoints" / "last.pt")
    (run_dir / "checkpoints" / "last.pt").unlink()
    with pytest.raises(ConfigError, match=r"has no checkpoints/last\.pt"):
        resumed(run_dir)


@pytest.mark.parametrize("text", ["train: [", "- a\n- b\n", "a: ${"])
def test_a_damaged_configuration_is_told(run_dir: Path, text: str) -> None:
    (run_dir / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        resumed(run_dir)


def test_without_its_file_the_configuration_is_read_from_the_checkpoint(run_dir: Path) -> None:
    from retina.training.checkpoint import save_checkpoint

    text = (run_dir / "config.yaml").read_text(encoding="utf-8")
    save_checkpoint(run_dir / "checkpoints" / "last.pt", {"config": text})
    (run_dir / "config.yaml").unlink()
    assert resumed(run_dir, "train.epochs=7")["train"]["epochs"] == 7
