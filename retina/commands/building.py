"""From a composed configuration to built objects: the only place where targets are instantiated."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, get_type_hints

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from retina import distributed
from retina.config.former_names import renamed
from retina.config.schema import BUILDER_TAKES
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.classification import ClassificationLoss
from retina.errors import CheckpointError, ConfigError
from retina.machine import Machine as Machine
from retina.settings import RunSettings

_QUOTED = re.compile(r"'([\w.]+)'")  # the target, in Hydra's message


def run_settings(config: DictConfig) -> RunSettings:
    """Return all scalars of a training run."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    schemas: dict[str, Any] = get_type_hints(RunSettings)
    sections: dict[str, Any] = {
        name: schema(**values[name]) if isinstance(values[name], dict) else values[name]
        for name, schema in schemas.items()
    }
    return RunSettings(**sections)


def build_node(node: Any, **filled_in: Any) -> Any:
    """Build the object that ``node`` names by its ``_target_``, or each one in a list of such nodes.

    Raises:
        RetinaError: as its constructor raised it.
        ConfigError: it cannot be imported, or its constructor refused a value.
    """
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    try:
        return instantiate(renamed(plain), **filled_in, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ImportError | TypeError | ValueError):
            target = _QUOTED.search(str(error))
            raise ConfigError(
                f"{target[1] if target else node} cannot be built with these settings",
                why=" ".join(str(cause).split()),
                fix="change the setting that is named above, or choose another option of its group",
            ) from cause
        raise cause or error from None  # Hydra's own exception hides what the user has to know


def build_data_folder(node: Mapping[Any, Any]) -> Any:
    """Build what opens the splits of a data set from the section ``dataset``; which share is used is not its matter."""
    return build_node({name: value for name, value in node.items() if name not in BUILDER_TAKES["dataset"]})


def seed_everything(seed: int) -> None:
    """Seed what draws without a key: the initialisation of weights, and transforms that use global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def build_assigner(node: Mapping[str, Any], *, center_heat: bool = False) -> Assigner:
    """Build the anchors and the assigner from the one flat section ``anchors``; the loss decides ``center_heat``."""
    names = {field.name for field in dataclasses.fields(AnchorGenerator)}
    values = {name: value for name, value in node.items() if name != "_target_"}
    generator = AnchorGenerator(**{name: value for name, value in values.items() if name in names})
    matching = {name: value for name, value in values.items() if name not in names}
    return Assigner(anchors=generator, **matching, center_heat=center_heat)


def build_model(
    node: Mapping[str, Any], *, num_classes: int, num_anchors: int, machine: Machine, channels_last: bool = True
) -> nn.Module:
    """Build the network of the section ``model`` on its device."""
    model = build_node(node, num_classes=num_classes, num_anchors=num_anchors)
    return model.to(machine.device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def build_criterion(config: DictConfig) -> Criterion:
    """Build the two losses; one that normalises itself is told how to sum over the ranks."""
    node = OmegaConf.to_container(config.loss.box, resolve=True)
    assert isinstance(node, dict)
    focal_gamma = node.pop("focal_gamma", None)
    criterion = Criterion(build_node(config.loss.classification), build_node(node), focal_gamma=focal_gamma)
    for loss in (criterion.classification, criterion.box, criterion.focal_weights):
        if loss is not None and not loss.additive:
            loss.sum_over_ranks = partial(_sum_over_ranks, loss)
    return criterion


def fit_to_loss(config: DictConfig, loss: ClassificationLoss, num_classes: int) -> DictConfig:
    """Return ``config`` with a network and a post-processing that make scores of logits as ``loss`` does.

    Raises:
        ConfigError: one of them is told otherwise, or the loss has weights for another number of classes.
    """
    num_outputs = num_classes + (loss.scores == "softmax")
    if loss.num_weights not in (None, num_outputs):
        raise ConfigError(
            f"loss.classification.alpha has {loss.num_weights} weights for {num_classes} classes",
            why=f"a list has one weight for each of the {num_outputs} class outputs of an anchor"
            + (", the last one the background's." if num_outputs > num_classes else "."),
            fix=f"give {num_outputs} weights, or one number for all classes",
        )
    for section in ("model", "postprocess"):
        chosen = config[section].get("scores", loss.scores)
        if chosen != loss.scores:
            raise ConfigError(
                f"{section}.scores={chosen} does not fit loss.classification, which learns {loss.scores} scores",
                why="what the network learns and what is read from it would be different numbers.",
                fix=f"choose a loss of {chosen} scores, or leave {section}.scores out: the loss decides it",
            )
    if loss.scores == "sigmoid":
        return config
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    config.model.scores = config.postprocess.scores = loss.scores
    return config


def check_scores_kept(config: DictConfig, trained: str) -> None:
    """Check that a run goes on with the kind of scores of ``trained``, the configuration text in its checkpoint.

    Raises:
        CheckpointError: ``config``, fitted to its loss, has another.
    """
    before = OmegaConf.select(OmegaConf.create(trained), "model.scores") or "sigmoid"
    now = config.model.get("scores", "sigmoid")
    if now != before:
        raise CheckpointError(
            f"loss.classification learns {now} scores, but the run has learned {before} scores so far",
            why="the network would need other class outputs, and those it has would mean something else.",
            fix="resume with the loss of the run, or start a new run",
        )


def _sum_over_ranks(loss: nn.Module, value: torch.Tensor) -> torch.Tensor:
    # In evaluation ranks have different numbers of batches: the one with more would wait for the others for ever.
    return distributed.sum_tensor_over_ranks(value) if loss.training else value


def build_optimizer(config: DictConfig, model: nn.Module, batch_size: int) -> torch.optim.Optimizer:
    """Build the optimizer for steps of ``batch_size`` images."""
    return build_node(config.optimizer, model=model, batch_size=batch_size)
