"""From the words of a command line to what a command's ``run`` is given."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from retina.build import build
from retina.commands.assemble import build_criterion, fit_to_loss
from retina.commands.train import build_parts
from retina.config.check import check_tree
from retina.config.command import Command
from retina.config.compose import CONFIGS
from retina.config.job import Recipe, read_jobs
from retina.config.sections import construct, split_sections
from retina.config.signatures import read_signature
from retina.machine import Machine

CPU = Machine(torch.device("cpu"), "float32")


def recipe(name: str, folders: Sequence[Path] = (CONFIGS,)) -> Recipe:
    """Return where the configuration of the command ``name`` comes from."""
    return Recipe(name, name, read_signature(f"{Command(name).module}.Settings"), folders)


def tree_of(name: str, *words: str, folders: Sequence[Path] = (CONFIGS,)) -> dict[str, Any]:
    """Return the checked configuration of a command as plain values."""
    return read_jobs(recipe(name, folders), words)[0].tree


def job(name: str, *words: str, folders: Sequence[Path] = (CONFIGS,)) -> tuple[Any, dict[str, Any]]:
    """Return the settings and the sections that the command ``name`` gets of ``words``."""
    return as_job(name, tree_of(name, *words, folders=folders))


def as_job(name: str, tree: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the settings and the sections of a configuration."""
    scalars, sections = split_sections(tree, recipe(name).settings)
    return construct(importlib.import_module(Command(name).module).Settings, scalars), sections


def mistakes_in(name: str, tree: dict[str, Any]) -> list[str]:
    """Return what is wrong with a configuration."""
    return [mistake.what for mistake in check_tree(tree, tree, name=name, settings=recipe(name).settings)]


def parts_of(settings: Any, sections: dict[str, Any], **options: Any) -> Any:
    """Return the parts of a run on the CPU, and its length."""
    folder = build(sections["dataset"])
    datasets = {split: folder.open(split) for split in ("train", "val")}
    criterion = build_criterion(sections["loss"], settings.loss.focal_gamma)
    sections = fit_to_loss(sections, criterion.classification, datasets["train"].num_classes)
    return build_parts(settings, sections, CPU, datasets, criterion, **options)
