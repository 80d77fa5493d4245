"""The text of ``--help``."""

from __future__ import annotations

import pytest

from retina.config.compose import group_options
from retina.config.help import help_text, split_comment


def test_help_of_training_has_examples_every_group_and_every_setting() -> None:
    text = help_text("train")
    assert "python train.py dataset=coco" in text
    for group, options in group_options().items():
        assert f"  {group} " in text
        assert all(option in text for option in options)
    for setting in ("batch_size: 16", "run_dir: null", "max_steps: null", "score_threshold: 0.05"):
        assert setting in text
    assert "--cfg job" in text
    assert "defaults:" not in text
    assert "_target_" not in text


@pytest.mark.parametrize(("name", "setting"), [("evaluate", "detections: null"), ("predict", "source: null")])
def test_help_of_other_commands_lists_their_own_settings_and_groups_only(name: str, setting: str) -> None:
    text = help_text(name)
    assert setting in text
    assert "retinanet_r50" not in text
    assert ("bccd coco csv custom" in text) == (name == "evaluate")


def test_help_of_the_benchmark_lists_its_own_settings_and_the_groups_of_training() -> None:
    text = help_text("benchmark")
    assert "num_boxes: 10" in text
    assert "python tools/benchmark.py dataset=coco train.batch_size=2" in text
    assert "retinanet_r50" in text


def test_the_comment_is_parted_from_the_settings_and_the_defaults_are_left_out() -> None:
    comment, settings = split_comment("# run it\n#\n# now\n\ndefaults:\n  - a: b\n\nkey: 1  # what\npart:\n  x: 2\n")
    assert comment == "run it\n\nnow"
    assert settings == "key: 1  # what\npart:\n  x: 2"


def test_a_file_of_comments_only_has_no_settings() -> None:
    assert split_comment("# only this") == ("only this", "")
