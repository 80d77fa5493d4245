"""The commands whose composed configurations are the list of public settings."""

from __future__ import annotations

import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from tests.golden.commands import must_work, write_golden

DATASETS = ["shapes", "bccd", "coco", "custom", "voc", "yolo", "csv"]
EXPERIMENTS = ["smoke", "overfit", "bccd_long"]
TOOLS = ["anchors", "benchmark", "convert_dataset", "doctor", "download", "loss_lab", "predict", "show_batch"]
# The losses' settings stand in curves.json, beside what each of them trains to.
OPTIONS = {
    "model": [f"retinanet_{name}" for name in ("r18", "r34", "r50", "r101", "r152", "x50")],
    "augment": ["none", "flip", "photometric", "standard", "all_sides", "strong"],
    "optimizer": ["sgd", "adamw", "adamw_finetune"],
    "schedule": ["multistep", "cosine", "onecycle"],
    "sampling": ["uniform", "aspect_ratio", "repeat_factor", "class_balanced"],
    "anchors": ["default", "small"],
}  # fmt: skip
EMPTY_PATHS = [f"dataset.{split}.{part}=x" for split in ("train", "val") for part in ("images", "annotations")]


def shown_commands() -> list[list[str]]:
    """Return scripts with what is typed: each data set, recipe, experiment, group option and tool at least once."""
    commands = [["train.py", f"dataset={name}", *(EMPTY_PATHS if name == "custom" else [])] for name in DATASETS]
    commands += [["train.py", f"experiment={name}"] for name in EXPERIMENTS]
    commands += [["train.py", "dataset=coco", "experiment=smoke"], ["train.py", "recipe=bccd"]]
    columns = [[f"{group}={name}" for name in names] for group, names in OPTIONS.items()]
    commands += [["train.py", *(choice for choice in row if choice)] for row in zip_longest(*columns)]
    commands += [["evaluate.py", "ckpt=."], ["evaluate.py", "ckpt=.", "dataset=bccd"]]
    needed = {
        "convert_dataset": ["from=voc", "to=coco", "out=x"],
        "download": ["dataset=coco"], "predict": ["ckpt=.", "source=."],
    }  # fmt: skip
    return commands + [[f"tools/{name}.py", *needed.get(name, [])] for name in TOOLS]


def shown(command: list[str], folder: Path) -> Any:
    """Return the configuration that ``--cfg job`` prints."""
    return yaml.safe_load(must_work(*command, "--cfg", "job", folder=folder))


def make() -> None:
    """Write ``settings.json``."""
    with tempfile.TemporaryDirectory() as folder:
        golden = {" ".join(command): shown(command, Path(folder)) for command in shown_commands()}
    write_golden("settings.json", golden)
