"""All mistakes of a command in one message."""

from __future__ import annotations

import pytest

from retina.config.compose import group_options
from retina.config.job import read_jobs
from retina.config.mistakes import Mistake, raise_mistakes
from retina.errors import ConfigError
from tests.jobs import recipe

ONE_MISTAKE = [
    (["model.backbone.depht=50"], "there is no setting model.backbone.depht", "did you mean model.backbone.depth?"),
    (["optimizer.lr=fast"], "optimizer.lr must be a number, got 'fast'", "--help"),
    (["optimizer.lr=nan"], "optimizer.lr must be a number, got nan", "--help"),
    (["optimizer.lr=-1"], "optimizer.lr must be greater than 0, got -1", "--help"),
    (["train.batch_size=0"], "train.batch_size must be at least 1, got 0", "--help"),
    (["train.batch_size=2.5"], "train.batch_size must be a whole number, got 2.5", "--help"),
    (["train.epochs=inf"], "train.epochs must be a number or null, got inf", "--help"),
    (["eval.split=tset"], "eval.split must be one of train, val, test", "--help"),
    (["dataset=coc"], "dataset has no option 'coc'", "did you mean dataset=coco?"),
    (["loss.box=eiou"], "loss.box is a section, not a value", "choose it with a slash: loss/box=eiou"),
    (["datset=coco"], "there is no setting datset", "did you mean dataset?"),
    (["lr=0.1"], "there is no setting lr", "did you mean optimizer.lr?"),
    (["dataset=custom"], "dataset=custom needs dataset.train.images, dataset.train.annotations", "dataset.val.images"),
    (["optimizer.lr=1,2"], "optimizer.lr=1,2 is several values", "add -m"),
    (["optimizer.lr==2"], "'optimizer.lr==2' cannot be read", "quote"),
    (["coco"], "'coco' is not of the form key=value", "write dataset=coco"),
    (["--lr=1"], "there is no flag --lr=1", "settings have no dashes"),
    (["model.norm=batch"], "model.norm must be one of auto, frozen_bn", "--help"),
    (["schedule.warmup=soon"], "schedule.warmup must be", "--help"),
    (["+train.foo=1"], "there is no setting train.foo", ""),
    (["+model.foo=1"], "there is no setting model.foo", ""),
    (["recipe=null"], "recipe cannot be left out", "choose one of"),
    (["dataset.root=${oc.env:RETINA_NOT_SET}"], "environment variable RETINA_NOT_SET is not set", "export"),
    (["loss.classification._target_=retina.nowhere.Loss"], "there is no module retina.nowhere", ""),
]


def _check(*overrides: str, primary: str = "train", multirun: bool = False) -> None:
    read_jobs(recipe(primary), overrides, multirun=multirun)


@pytest.mark.parametrize(("overrides", "what", "fix"), ONE_MISTAKE, ids=lambda value: str(value)[:40])
def test_one_mistake_is_told_with_what_to_do(overrides: list[str], what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as told:
        _check(*overrides)
    assert what in told.value.what
    assert "\n" not in told.value.what
    assert fix in told.value.fix


def test_several_mistakes_are_told_at_once_each_on_its_line() -> None:
    with pytest.raises(ConfigError) as told:
        _check("model.backbone.depht=50", "optimizer.lr=fast", "train.batch_size=0")
    assert str(told.value).splitlines() == [
        "error: 3 mistakes in the configuration:",
        "  there is no setting model.backbone.depht; did you mean model.backbone.depth?",
        "  train.batch_size must be at least 1, got 0",
        "  optimizer.lr must be a number, got 'fast'",
        "why:   everything is checked before anything is started.",
        "fix:   --help lists groups and settings, --cfg job shows the composed configuration",
    ]


def test_of_many_mistakes_the_first_five_and_the_total_are_shown() -> None:
    with pytest.raises(ConfigError) as told:
        raise_mistakes([Mistake(f"mistake {number}") for number in range(7)])
    lines = told.value.what.splitlines()
    assert lines[0] == "7 mistakes in the configuration:"
    assert lines[5:] == ["  mistake 4", "  ... (7 in all)"]


def test_the_same_mistake_is_told_once_for_all_jobs_of_a_sweep() -> None:
    with pytest.raises(ConfigError) as told:
        _check("train.seed=1,2", "optimizer.lr=0.1,fast", "loss/box=l1,l2", multirun=True)
    assert sorted(told.value.what.splitlines()) == [
        f"  loss/box has no option 'l2'; choose one of {', '.join(group_options()['loss/box'])}",
        "  optimizer.lr must be a number, got 'fast'",
        "2 mistakes in the configuration:",
    ]


def test_no_mistakes_raise_nothing() -> None:
    raise_mistakes([])
    _check("optimizer.lr=0.5", "loss/box=eiou", "train.epochs=null", "train.max_steps=3")
    _check("optimizer.lr=0.1,0.2", "loss/box=l1,eiou", multirun=True)


def test_lengths_that_are_numbers_in_their_file_may_be_epochs_on_the_command_line() -> None:
    _check("schedule.warmup=1epoch", "augment=strong", "augment.until=-2epoch")
    for mistake in ("schedule.warmup=soon", "augment.until=-2days", "optimizer.weight_decay=1epoch"):
        with pytest.raises(ConfigError, match=mistake.split("=")[0]):
            _check("augment=strong", mistake)


def test_custom_data_passes_with_its_four_paths() -> None:
    paths = [f"dataset.{split}.{part}=x" for split in ("train", "val") for part in ("images", "annotations")]
    _check("dataset=custom", *paths)
    with pytest.raises(ConfigError, match=r"dataset=custom needs dataset.val.annotations\n"):
        _check("dataset=custom", *paths[:-1])


def test_evaluation_needs_only_the_split_it_evaluates(tmp_path) -> None:
    given = [f"ckpt={tmp_path}", "dataset=custom", "dataset.val.images=x", "dataset.val.annotations=y"]
    _check(*given, primary="evaluate")
    with pytest.raises(ConfigError, match=r"dataset\.test\.images"):
        _check(*given, "split=test", primary="evaluate")


def test_prediction_needs_a_checkpoint_and_a_source(tmp_path) -> None:
    with pytest.raises(ConfigError, match="ckpt must be given"):
        _check(primary="predict")
    _check(f"ckpt={tmp_path}", f"source={tmp_path}", primary="predict")
