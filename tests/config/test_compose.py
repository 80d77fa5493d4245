"""Every choice composes, and the order of precedence holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retina.config.compose import CONFIGS, apply_value, compose_config, first_line, parse_override
from retina.errors import ConfigError


def test_the_data_set_brings_its_recipe() -> None:
    assert compose_config("train").choices["recipe"] == "shapes"
    assert compose_config("train", ["dataset=coco"]).choices["recipe"] == "coco"
    assert compose_config("train", ["dataset=custom", "recipe=bccd"]).choices["recipe"] == "bccd"


def test_the_standard_recipe_is_the_paper_s() -> None:
    config = compose_config("train", ["dataset=coco"]).config
    assert config.model.backbone.depth == 50
    assert (config.model.weights, config.model.norm, config.model.backbone.frozen_stages) == ("imagenet", "auto", 2)
    assert (config.image.short_side, config.image.long_side) == (800, 1333)
    assert (config.optimizer.lr, config.optimizer.lr_batch_size) == (0.01, 16)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 0.0001)
    assert (config.train.batch_size, config.train.max_images) == (16, 90_000 * 16)
    assert (config.train.epochs, config.train.max_steps) == (None, None)
    assert (config.schedule.warmup, config.schedule.warmup_factor) == (1000 * 16, 0.001)
    assert [round(drop * 90_000) for drop in config.schedule.drops] == [60_000, 80_000]
    assert [node._target_ for node in config.augment.transforms] == ["albumentations.HorizontalFlip"]


def test_the_command_line_wins_over_experiment_over_recipe_over_the_group_s_file(tmp_path: Path) -> None:
    from_group = OmegaConf.load(CONFIGS / "model" / "retinanet_r18.yaml")
    from_recipe = compose_config("train").config.model
    assert from_recipe.fpn_channels == 128 != from_group.fpn_channels
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "wide.yaml").write_text("# @package _global_\nmodel: {fpn_channels: 64}\n")
    folders = [CONFIGS, tmp_path]
    assert compose_config("train", ["experiment=wide"], folders=folders).config.model.fpn_channels == 64
    typed = compose_config("train", ["experiment=wide", "model.fpn_channels=32"], folders=folders)
    assert typed.config.model.fpn_channels == 32


def test_an_experiment_may_choose_the_data_set_and_the_command_line_another() -> None:
    assert compose_config("train", ["experiment=bccd_long"]).config.dataset.name == "bccd"
    overfit = compose_config("train", ["experiment=overfit", "model=retinanet_r34"])
    assert overfit.config.model.backbone.depth == 34
    assert overfit.choices["augment"] == "none"


def test_what_cannot_be_composed_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="cannot be composed"):
        compose_config("train", ["recipe=nosuch"])


def test_hydra_s_own_node_is_not_part_of_the_result() -> None:
    composed = compose_config("evaluate")
    assert "hydra" not in composed.config
    assert composed.choices == {"dataset": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=3", {"train": {"epochs": 3, "seed": 0}, "root": None}),
        ("root=null", {"train": {"epochs": 1, "seed": 0}, "root": None}),
        ("train={epochs: 2}", {"train": {"epochs": 2, "seed": 0}, "root": None}),
        ("+train.extra=[1,2]", {"train": {"epochs": 1, "seed": 0, "extra": [1, 2]}, "root": None}),
        ("~train.seed", {"train": {"epochs": 1}, "root": None}),
        ("~root", {"train": {"epochs": 1, "seed": 0}}),
    ],
)
def test_a_value_is_applied_as_hydra_does(text: str, expected: dict) -> None:
    config = OmegaConf.create({"train": {"epochs": 1, "seed": 0}, "root": None})
    OmegaConf.set_struct(config, True)
    apply_value(config, parse_override(text))
    assert OmegaConf.to_container(config) == expected


def test_the_first_line_that_says_something_is_taken() -> None:
    assert first_line(ValueError("\n\n  what \nmore")) == "what"
    assert first_line(ValueError()) == "ValueError"
