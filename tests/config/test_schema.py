"""The tables that signatures do not tell stay in step with the configurations."""

from __future__ import annotations

import pytest

from retina.config.compose import compose_config, group_options
from retina.config.overrides import paths_of
from retina.config.schema import BUILDER_TAKES, FILLED_IN, RULES, SETTINGS_OF, TAKEN_BY, rule_broken
from retina.config.values import to_plain


@pytest.fixture(scope="module")
def every_path() -> set[str]:
    """The paths of all settings, whatever is chosen."""
    paths: set[str] = set()
    losses = [f"loss/{kind}={name}" for kind in ("box", "classification") for name in group_options()[f"loss/{kind}"]]
    assert len(losses) > 20
    for choices in (
        ["dataset=shapes", "optimizer=adamw", "schedule=cosine"],
        ["dataset=coco", "optimizer=sgd", "schedule=multistep", "augment=strong"],
        *([f"sampling={name}"] for name in group_options()["sampling"]),
        *([loss] for loss in losses),
    ):
        plain, _ = to_plain(compose_config("train", choices).config)
        paths |= set(paths_of(plain))
    return paths


def test_every_rule_is_about_a_setting_that_exists(every_path: set[str]) -> None:
    assert len(RULES) > 30
    assert set(RULES) - every_path == set()


def test_every_table_is_about_a_section_that_exists(every_path: set[str]) -> None:
    assert {*FILLED_IN, *BUILDER_TAKES, *TAKEN_BY} <= every_path


def test_each_command_has_its_file(root) -> None:
    assert all((root / "configs" / f"{name}.yaml").is_file() for name in SETTINGS_OF)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("optimizer.lr", -0.1, "optimizer.lr must be greater than 0, got -0.1"),
        ("optimizer.momentum", 1.0, "at least 0 and below 1"),
        ("model.backbone.depth", 42, "one of 18, 34, 50, 101, 152"),
        ("model.prior", 1, "both excluded"),
        ("anchors.strides", [8, 0], "got 0 in it"),
        ("schedule.warmup", "soon", "2epoch"),
        ("schedule.warmup", -1, "2epoch"),
        ("schedule.drops", [0.5, "late"], "got 'late' in it"),
        ("loss.classification.alpha", 1.5, "between 0 and 1"),
    ],
)
def test_values_out_of_range_are_told_with_the_range(path: str, value: object, text: str) -> None:
    assert text in (rule_broken(path, value) or "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optimizer.lr", 0.1),
        ("optimizer.lr_batch_size", None),
        ("schedule.warmup", "2epoch"),
        ("schedule.drops", [0.5, "9epoch", 16000]),
        ("optimizer.lr", "fast"),  # a wrong type is told elsewhere
        ("train.seed", -1),  # no rule: told by its dataclass
    ],
)
def test_values_in_range_pass(path: str, value: object) -> None:
    assert rule_broken(path, value) is None
