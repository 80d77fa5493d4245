"""A whole configuration: types, ranges, unset variables, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retina.command_settings import EvaluateSettings
from retina.config.values import (
    UNKNOWN,
    check_against,
    check_dataset,
    check_nodes,
    check_paths,
    check_scalars,
    to_plain,
)
from retina.settings import RunSettings


def _told(mistakes: list) -> list[str]:
    return [mistake.what for mistake in mistakes]


def test_values_are_resolved_and_lists_stay_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETINA_TEST_ROOT", "/images")
    config = OmegaConf.create({"a": "${oc.env:RETINA_TEST_ROOT}/x", "b": {"c": [1, {"d": "${a}"}]}})
    assert to_plain(config) == ({"a": "/images/x", "b": {"c": [1, {"d": "/images/x"}]}}, [])


def test_an_unset_environment_variable_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETINA_TEST_ROOT", raising=False)
    tree, (mistake,) = to_plain(OmegaConf.create({"dataset": {"root": "${oc.env:RETINA_TEST_ROOT}/x"}}))
    assert tree == {"dataset": {"root": UNKNOWN}}
    assert "dataset.root" in mistake.what
    assert "environment variable RETINA_TEST_ROOT is not set" in mistake.what
    assert mistake.fix == "export RETINA_TEST_ROOT=<value>, or dataset.root=<value>"


def test_other_references_that_lead_nowhere_and_missing_values_are_told() -> None:
    tree, mistakes = to_plain(OmegaConf.create({"a": "${nowhere.x}", "b": "???", "c": "${oc.env:HOME}"}))
    assert tree["a"] == tree["b"] == UNKNOWN
    assert "a is ${nowhere.x}, which cannot be resolved" in mistakes[0].what
    assert mistakes[1].what == "b must be given"


def test_every_wrong_scalar_is_told_although_a_dataclass_stops_at_the_first() -> None:
    train = {"batch_size": 0, "seed": -1, "ema_decay": 2.0, "epochs": "many", "precision": "fp8", "sead": 1}
    told = _told(check_scalars({"train": train, "log": {"every": "often"}, "model": {}}, RunSettings))
    assert len(told) == 7
    for name in ("batch_size must be at least 1", "seed must be", "ema_decay must", "epochs must be a number"):
        assert any(f"train.{name}" in sentence for sentence in told), name
    assert any("train.precision must be one of auto, float32, bf16, fp16, got 'fp8'" in s for s in told)
    assert any("there is no setting train.sead" in s for s in told)
    assert any("log.every must be a number of steps" in s for s in told)


def test_two_scalars_that_do_not_fit_together_are_told_once() -> None:
    told = _told(check_scalars({"image": {"short_side": 2000, "long_side": 300}}, RunSettings))
    assert len(told) == 1
    assert "got 2000 and 300" in told[0]


def test_a_section_that_is_a_value_is_told() -> None:
    assert _told(check_scalars({"train": 5}, RunSettings)) == ["train must be a section, got 5"]


def test_sections_that_are_left_out_have_their_defaults() -> None:
    assert check_scalars({}, RunSettings) == []


def test_evaluation_needs_a_checkpoint_or_a_results_file() -> None:
    assert _told(check_scalars({}, EvaluateSettings)) == ["ckpt must be given, or detections and annotations"]
    assert _told(check_scalars({"ckpt": "runs/x"}, EvaluateSettings)) == []
    assert "together" in _told(check_scalars({"detections": "a.json", "run_dir": "x"}, EvaluateSettings))[0]


def test_a_node_is_held_against_the_signature_of_its_target() -> None:
    optimizer = {
        "_target_": "retina.training.optimizers.build_sgd",
        "lr": "fast",
        "momentun": 0.9,
        "weight_decay": float("nan"),
        "lr_batch_size": 1.5,
        "model": 3,
    }
    told = _told(check_nodes({"optimizer": optimizer}))
    assert told == [
        "optimizer.lr must be a number, got 'fast'",
        "there is no setting optimizer.momentun: retina.training.optimizers.build_sgd does not take it",
        "optimizer.weight_decay must be a number, got nan",
        "optimizer.lr_batch_size must be a whole number or null, got 1.5",
        "there is no setting optimizer.model: retina.training.optimizers.build_sgd does not take it",
    ]


def test_what_a_target_needs_and_nobody_gives_is_told() -> None:
    told = _told(check_nodes({"optimizer": {"_target_": "retina.training.optimizers.build_sgd"}}))
    assert told == ["optimizer.lr must be given: retina.training.optimizers.build_sgd needs it"]


def test_a_misspelt_target_is_told_with_the_nearest_name() -> None:
    (mistake,) = check_nodes({"loss": {"box": {"_target_": "retina.detection.losses.overlap.EIoULos"}}})
    assert mistake.what == "loss.box._target_: there is no EIoULos in retina.detection.losses.overlap"
    assert mistake.fix == "did you mean EIoULoss?"


def test_the_anchors_section_feeds_two_targets() -> None:
    anchors = {"_target_": "retina.detection.assign.Assigner", "strides": [8, 16], "positive_iou": 0.5}
    assert check_nodes({"anchors": anchors}) == []
    assert "anchors.stride" in _told(check_nodes({"anchors": {**anchors, "stride": 3}}))[0]


def test_a_value_out_of_range_is_told_once_even_if_its_type_is_wrong_too() -> None:
    node = {"_target_": "retina.models.retinanet.build_retinanet", "backbone": {"depth": 42}, "prior": True}
    assert _told(check_nodes({"model": node})) == [
        "model.prior must be a number, got true",
        "model.backbone.depth must be one of 18, 34, 50, 101, 152, got 42",
    ]


def test_targets_of_other_packages_are_held_against_what_the_file_says() -> None:
    before = {"transforms": [{"_target_": "albumentations.HorizontalFlip", "p": 0.5, "on": True, "fill": [1, 2]}]}
    after = {"transforms": [{"_target_": "albumentations.HorizontalFlip", "p": "x", "on": 3, "fill": "red"}]}
    assert check_nodes(after) == []
    assert _told(check_against(after, before)) == [
        "transforms.0.p must be a number, got 'x'",
        "transforms.0.on must be true or false, got 3",
        "transforms.0.fill must be a list, got 'red'",
    ]
    assert check_against(before, before) == []


def test_files_that_a_command_reads_must_exist(tmp_path: Path) -> None:
    assert check_paths({"ckpt": str(tmp_path), "source": None}) == []
    (mistake,) = check_paths({"ckpt": str(tmp_path / "nowhere")})
    assert mistake.what == f"ckpt: no such file or folder: {tmp_path / 'nowhere'}"


def test_a_data_set_without_paths_names_all_of_them() -> None:
    empty = {"images": None, "annotations": None}
    dataset = {"_target_": "x.y", "name": "custom", "train": empty, "val": empty, "test": empty}
    (mistake,) = check_dataset(dataset, ("train", "val"))
    for name in ("train.images", "train.annotations", "val.images", "val.annotations"):
        assert f"dataset.{name}" in mistake.what
    assert "dataset.test" not in mistake.what
    assert check_dataset({"root": None}, ("train",)) == []
    assert check_dataset({**dataset, "val": {"images": "a", "annotations": "b"}}, ("val",)) == []
