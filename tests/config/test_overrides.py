"""What was typed: sweeps, choices, keys and the nearest right spelling."""

from __future__ import annotations

import pytest

from retina.config.compose import CONFIGS, group_options, parse_override
from retina.config.mistakes import nearest
from retina.config.overrides import check_choices, check_keys, expand_sweeps, parse_all, paths_of, split_groups

TREE = {
    "model": {"_target_": "x.y", "backbone": {"depth": 18}, "norm": "bn"},
    "optimizer": {"lr": 0.1},
    "checkpoint": {"every": 1},
    "log": {"every": 2},
    "transforms": [{"p": 0.5}],
}


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("model.backbone.depht", "did you mean model.backbone.depth?"),
        ("lr", "did you mean optimizer.lr?"),
        ("depht", "did you mean model.backbone.depth?"),
        ("train.every", "did you mean checkpoint.every or log.every?"),
        ("zzzzzz", ""),
    ],
)
def test_the_nearest_right_spelling_is_offered(typed: str, hint: str) -> None:
    assert nearest(typed, paths_of(TREE)) == hint


def test_paths_go_into_lists_of_sections_and_leave_out_targets() -> None:
    paths = paths_of(TREE)
    assert "transforms.0.p" in paths
    assert not any("_target_" in path for path in paths)


def test_what_cannot_be_read_is_told_with_the_right_form() -> None:
    parsed, mistakes = parse_all(["optimizer.lr=1", "coco", "--fast", "dataset.root=a=b"])
    assert [override.key_or_group for override in parsed] == ["optimizer.lr"]
    assert [mistake.fix for mistake in mistakes] == [
        "write dataset=coco",
        "settings have no dashes: fast=value",
        "quote a value with spaces or any of = , { } ( ): \"dataset.root='a=b'\"",
    ]


def texts(overrides) -> list[str]:
    return [override.input_line for override in overrides]


def test_a_sweep_is_every_combination_with_multirun_and_a_mistake_without() -> None:
    parsed, _ = parse_all(["optimizer.lr=1,2", "loss/box=l1,eiou", "train.seed=3"])
    jobs, mistakes = expand_sweeps(parsed, multirun=True)
    assert len(jobs) == 4
    assert ["optimizer.lr=2", "loss/box=eiou", "train.seed=3"] in [texts(job) for job in jobs]
    assert mistakes == []
    jobs, mistakes = expand_sweeps(parsed, multirun=False)
    assert [texts(job) for job in jobs] == [["train.seed=3"]]
    assert [mistake.what for mistake in mistakes] == [
        "optimizer.lr=1,2 is several values",
        "loss/box=l1,eiou is several values",
    ]


def test_choices_of_groups_are_told_from_values_of_settings() -> None:
    overrides = [parse_override(text) for text in ("dataset=coco", "loss/box=l1", "foo/bar=1", "optimizer.lr=1")]
    choices, values = split_groups(overrides, group_options())
    assert [choice.key_or_group for choice in choices] == ["dataset", "loss/box", "foo/bar"]
    assert [value.key_or_group for value in values] == ["optimizer.lr"]


@pytest.mark.parametrize(
    ("primary", "typed", "what", "fix"),
    [
        ("train", "dataset=coc", "dataset has no option 'coc'", "did you mean dataset=coco?"),
        ("train", "loss/box=zzz", "loss/box has no option 'zzz'", "choose one of alpha_iou, balanced_l1"),
        ("train", "loss/bax=l1", "there is no group loss/bax", "did you mean loss/box=?"),
        ("train", "recipe=null", "recipe cannot be left out", "choose one of"),
        ("train", "~dataset", "dataset cannot be left out", "choose one of"),
        ("train", "+experiment=smoke", "experiment is chosen already", "write experiment=smoke"),
        ("evaluate", "model=retinanet_r18", "evaluate takes no group model", "it takes: dataset"),
    ],
)
def test_a_wrong_choice_is_told_with_what_is_allowed(primary: str, typed: str, what: str, fix: str) -> None:
    good, mistakes = check_choices(primary, [parse_override(typed), parse_override("dataset=bccd")], [CONFIGS])
    assert good == ["dataset=bccd"]
    assert what in mistakes[0].what
    assert fix in mistakes[0].fix


def test_an_optional_group_may_be_left_out() -> None:
    assert check_choices("train", [parse_override("experiment=null")], [CONFIGS]) == (["experiment=null"], [])


@pytest.mark.parametrize(
    ("typed", "what", "fix"),
    [
        ("model.nrm=bn", "there is no setting model.nrm", "did you mean model.norm?"),
        ("loss.box=eiou", "there is no setting loss.box", "choose it with a slash: loss/box=..."),
        ("box=eiou", "there is no setting box", "did you mean loss/box=?"),
        ("model.backbone=50", "model.backbone is a section", "it has model.backbone.depth"),
        ("model=5", "model is a section", "choose it with a slash: model=5"),
        ("+optimizer.lr=5", "optimizer.lr is there already", "write optimizer.lr=5"),
        ("+foo=5", "there is no setting foo", ""),
        ("~optimizer.foo", "there is no setting optimizer.foo", ""),
        ("transforms.1.p=1", "there is no setting transforms.1.p", "transforms.0.p"),
    ],
)
def test_a_wrong_key_is_told_with_the_right_spelling(typed: str, what: str, fix: str) -> None:
    good, mistakes = check_keys([parse_override(typed)], TREE, group_options())
    assert good == []
    assert what in mistakes[0].what
    assert fix in mistakes[0].fix


@pytest.mark.parametrize(
    "typed", ["optimizer.lr=1", "transforms.0.p=1", "~optimizer.lr", "+optimizer.new=1", "model.backbone={depth: 50}"]
)
def test_right_keys_pass(typed: str) -> None:
    good, mistakes = check_keys([parse_override(typed)], TREE, group_options())
    assert len(good) == 1
    assert mistakes == []


def test_hydra_s_own_settings_are_left_to_hydra() -> None:
    typed = [parse_override(text) for text in ("hydra.verbose=true", "hydra/launcher=mine")]
    assert check_keys(typed, TREE, group_options()) == ([], [])
