"""A whole configuration against signatures: types, ranges, unset variables, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from retina.config.check import check_nodes, check_settings, check_tree
from retina.config.compose import UNKNOWN, to_plain
from retina.config.signatures import read_signature
from tests.jobs import recipe

SGD = "retina.training.optimizers.build_sgd"
RESNET = {"_target_": "retina.models.backbones.resnet.ResNet"}


def _told(mistakes: list) -> list[str]:
    return [mistake.what for mistake in mistakes]


def scalars(tree: dict[str, Any], command: str = "train") -> list[str]:
    """What is told of the scalars of a command."""
    return _told(check_settings(tree, recipe(command).settings))


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
    assert scalars({"train": train, "log": {"every": "often"}, "model": {}}) == [
        "train.batch_size must be at least 1, got 0",
        "train.seed must be at least 0, got -1",
        "train.ema_decay must be at least 0 and below 1, got 2.0",
        "train.epochs must be a number or null, got 'many'",
        "train.precision must be one of auto, float32, bf16, fp16, got 'fp8'",
        "there is no setting train.sead",
        "log.every must be a number of steps (0 = never) or like '1epoch', got 'often'",
    ]


def test_two_scalars_that_do_not_fit_together_are_told_once() -> None:
    (told,) = scalars({"image": {"short_side": 2000, "long_side": 300}})
    assert told == "image.long_side must be at least image.short_side (2000), got 300"


def test_a_section_that_is_a_value_is_told() -> None:
    assert scalars({"train": 5}) == ["train must be a section, got 5"]


def test_sections_that_are_left_out_have_their_defaults() -> None:
    assert scalars({}) == []


FILES = {"detections": "results.json", "annotations": "instances.json", "run_dir": "out"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ckpt": "runs/mine"}, []),
        ({"ckpt": "runs/mine", "split": "test", "run_dir": "out"}, []),
        (FILES, []),
        ({}, ["ckpt must be given, or detections and annotations"]),
        (
            {**FILES, "ckpt": "runs/mine"},
            ["ckpt and detections cannot both be given: one is a model, the other is its result"],
        ),
        ({**FILES, "annotations": None}, ["annotations must be given with detections"]),
        ({"ckpt": "runs/mine", "annotations": "a.json"}, ["detections must be given with annotations"]),
        ({**FILES, "run_dir": None}, ["run_dir must be given with detections: no run owns a results file"]),
    ],
)
def test_an_evaluation_is_of_a_checkpoint_or_of_a_results_file(given: dict[str, Any], told: list[str]) -> None:
    assert scalars({"ckpt": None, **given}, "evaluate") == told


def test_a_node_is_held_against_the_signature_of_its_target() -> None:
    node = {
        "_target_": SGD,
        "lr": "fast",
        "momentun": 0.9,
        "weight_decay": float("nan"),
        "lr_batch_size": 1.5,
        "model": 3,
    }
    assert _told(check_nodes({"optimizer": node})) == [
        "optimizer.lr must be a number, got 'fast'",
        f"there is no setting optimizer.momentun: {SGD} does not take it",
        "optimizer.weight_decay must be a number, got nan",
        "optimizer.lr_batch_size must be a whole number or null, got 1.5",
        f"there is no setting optimizer.model: {SGD} does not take it",
    ]


@pytest.mark.parametrize(
    ("target", "path", "value", "text"),
    [
        (SGD, "optimizer.lr", -0.1, "optimizer.lr must be greater than 0, got -0.1"),
        (SGD, "optimizer.momentum", 1.0, "at least 0 and below 1"),
        (RESNET["_target_"], "model.backbone.depth", 42, "one of 18, 34, 50, 101, 152"),
        ("retina.models.retinanet.build_retinanet", "model.prior", 1, "both excluded"),
        ("retina.detection.assign.Assigner", "anchors.strides", [8, 0], "got 0 in it"),
        ("retina.training.schedules.Cosine", "schedule.warmup", "soon", "2epoch"),
        ("retina.training.schedules.Cosine", "schedule.warmup", -1, "2epoch"),
        ("retina.training.schedules.MultiStep", "schedule.drops", [0.5, "late"], "got 'late' in it"),
        ("retina.detection.losses.classification.FocalLoss", "loss.classification.alpha", 1.5, "between 0 and 1"),
        (SGD, "optimizer.lr", 0.1, None),
        (SGD, "optimizer.lr_batch_size", None, None),
        ("retina.training.schedules.Cosine", "schedule.warmup", "2epoch", None),
        ("retina.training.schedules.MultiStep", "schedule.drops", [0.5, "9epoch", 16000], None),
    ],
)
def test_a_value_out_of_range_is_told_with_the_range(target: str, path: str, value: object, text: str | None) -> None:
    section, _, name = path.rpartition(".")
    node: dict[str, Any] = {"_target_": target, name: value}
    if name not in ("lr", "depth"):
        node |= {"lr": 1} if target == SGD else {}
        node |= {"backbone": RESNET} if section == "model" else {}
    for part in reversed(section.split(".")):
        node = {part: node}
    told = [sentence for sentence in _told(check_nodes(node)) if path in sentence]
    assert (text is None and told == []) or (len(told) == 1 and text in told[0])


def test_what_a_target_needs_and_nobody_gives_is_told() -> None:
    assert _told(check_nodes({"optimizer": {"_target_": SGD}})) == [f"optimizer.lr must be given: {SGD} needs it"]


def test_a_misspelt_target_is_told_with_the_nearest_name() -> None:
    (mistake,) = check_nodes({"loss": {"box": {"_target_": "retina.detection.losses.overlap.EIoULos"}}})
    assert mistake.what == "loss.box._target_: there is no EIoULos in retina.detection.losses.overlap"
    assert mistake.fix == "did you mean EIoULoss?"


def test_the_anchors_section_has_the_settings_of_two_classes() -> None:
    anchors = {"_target_": "retina.detection.assign.Assigner", "strides": [8, 16], "positive_iou": 0.5}
    assert check_nodes({"anchors": anchors}) == []
    assert "anchors.stride" in _told(check_nodes({"anchors": {**anchors, "stride": 3}}))[0]


def test_a_value_whose_type_is_wrong_is_told_once() -> None:
    node = {"_target_": "retina.models.retinanet.build_retinanet", "backbone": {**RESNET, "depth": 42}, "prior": True}
    assert sorted(_told(check_nodes({"model": node}))) == [
        "model.backbone.depth must be one of 18, 34, 50, 101, 152, got 42",
        "model.prior must be a number, got true",
    ]


def test_targets_of_other_packages_are_held_against_what_the_file_says() -> None:
    flip = {"_target_": "albumentations.HorizontalFlip"}
    before = {"transforms": [{**flip, "p": 0.5, "on": True, "fill": [1, 2]}]}
    after = {"transforms": [{**flip, "p": "x", "on": 3, "fill": "red"}]}
    assert check_nodes(after) == []
    assert _told(check_tree(after, before, name="other", settings=None)) == [
        "transforms.0.p must be a number, got 'x'",
        "transforms.0.on must be true or false, got 3",
        "transforms.0.fill must be a list, got 'red'",
    ]
    assert check_tree(before, before, name="other", settings=None) == []


def test_files_that_a_command_reads_must_exist(tmp_path: Path) -> None:
    there, gone = ({"ckpt": str(path), "source": None} for path in (tmp_path, tmp_path / "nowhere"))
    assert check_tree(there, there, name="other", settings=None) == []
    (mistake,) = check_tree(gone, gone, name="other", settings=None)
    assert mistake.what == f"ckpt: no such file or folder: {tmp_path / 'nowhere'}"


def test_every_table_is_about_what_exists(root: Path) -> None:
    for name in ("train", "evaluate", "predict", "show_batch", "anchors", "benchmark", "convert_dataset", "doctor",
                 "download", "loss_lab"):  # fmt: skip
        assert (root / "configs" / f"{name}.yaml").is_file()
        assert recipe(name).settings == read_signature(f"{recipe(name).settings.target}")
