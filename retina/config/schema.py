"""What signatures do not tell: which section feeds what, what the builder fills in, and the ranges of settings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retina.command_settings import (
    AnchorsSettings,
    BenchmarkSettings,
    ConvertSettings,
    DoctorSettings,
    DownloadSettings,
    EvaluateSettings,
    LossLabSettings,
    PredictSettings,
    ShowBatchSettings,
)
from retina.settings import RunSettings, length_in_images

# The scalars of each command, by the name of its file in configs/.
SETTINGS_OF: dict[str, type] = {
    "train": RunSettings,
    "evaluate": EvaluateSettings,
    "predict": PredictSettings,
    "show_batch": ShowBatchSettings,
    "benchmark": BenchmarkSettings,
    "convert_dataset": ConvertSettings,
    "download": DownloadSettings,
    "doctor": DoctorSettings,
    "anchors": AnchorsSettings,
    "loss_lab": LossLabSettings,
}

# The sections that a training run cannot do without.
TRAIN_SECTIONS = ("dataset", "model", "anchors", "loss", "optimizer", "schedule", "augment", "postprocess")

# Parameters that are not settings: the builder computes them (retina/commands/building.py).
FILLED_IN: dict[str, frozenset[str]] = {
    "model": frozenset({"num_classes", "num_anchors", "load_weights"}),
    "model.backbone": frozenset({"norm"}),
    "anchors": frozenset({"anchors", "center_heat"}),
    "augment": frozenset({"short_side", "long_side", "reduced_decoding", "seed"}),
    "optimizer": frozenset({"model", "batch_size"}),
}

# Settings that the builder uses itself instead of handing them to the target, with their types.
BUILDER_TAKES: dict[str, dict[str, str]] = {
    "loss.box": {"focal_gamma": "float | None"},
    "augment": {"until": "float | str | None", "afterwards": "Sequence[Any]"},
    "dataset": {"fraction": "float", "fraction_seed": "int"},
}

# Settings of one section that go to two targets, so that users see them side by side.
ALSO_FEEDS = {"retina.detection.assign.Assigner": "retina.detection.anchors.AnchorGenerator"}

# Mappings without a `_target_` of their own, and what takes them.
TAKEN_BY = {"model.backbone": "retina.models.backbones.resnet.ResNet"}


@dataclass(frozen=True)
class Rule:
    """Which values of a setting make sense; a list is judged item by item, null always passes."""

    text: str
    accepts: Callable[[Any], bool]


def _least(bound: float) -> Rule:
    return Rule(f"at least {bound}", lambda value: value >= bound)


def _between(low: float, high: float) -> Rule:
    return Rule(f"between {low} and {high}", lambda value: low <= value <= high)


def _below(low: float, high: float) -> Rule:
    return Rule(f"at least {low} and below {high}", lambda value: low <= value < high)


def _one_of(*allowed: Any) -> Rule:
    return Rule(f"one of {', '.join(map(str, allowed))}", lambda value: value in allowed)


def _is_until(value: Any) -> bool:
    back = isinstance(value, str) and value.startswith("-")
    return _is_length(value[1:]) if back else _is_length(value)


def _is_length(value: Any) -> bool:
    try:
        return math.isfinite(length_in_images(value, run_images=1, images_per_epoch=1, setting=""))
    except ValueError:
        return False


_ABOVE_0 = Rule("greater than 0", lambda value: value > 0)
_AT_LEAST_0 = _least(0)
_AT_LEAST_1 = _least(1)
_SHARE = _between(0, 1)
_LENGTH = Rule("images (16000), '2epoch' or a fraction of the run (0.75)", _is_length)

_UNTIL = Rule("a fraction of the run (0.85), '10epoch', images (16000) or '-2epoch', from the end", _is_until)

RULES: dict[str, Rule] = {
    "dataset.num_train_images": _AT_LEAST_1,
    "dataset.num_val_images": _AT_LEAST_1,
    "dataset.image_size": _least(128),
    "dataset.seed": _AT_LEAST_0,
    "dataset.exif": _one_of("ignore", "apply"),
    "dataset.on_bad_box": _one_of("clip", "drop", "error"),
    "dataset.on_bad_image": _one_of("skip", "error"),
    "dataset.fraction": Rule("greater than 0 and at most 1", lambda value: 0 < value <= 1),
    "dataset.fraction_seed": _AT_LEAST_0,
    "sampling.boundaries": _ABOVE_0,
    "sampling.group_size": _AT_LEAST_1,
    "sampling.threshold": Rule("greater than 0 and at most 1", lambda value: 0 < value <= 1),
    "model.backbone.depth": _one_of(18, 34, 50, 101, 152),
    "model.backbone.groups": _AT_LEAST_1,
    "model.backbone.width_per_group": _AT_LEAST_1,
    "model.backbone.frozen_stages": _between(0, 5),
    "model.box_tower": _one_of("lazy", "dense"),
    "model.norm": _one_of("auto", "frozen_bn", "bn", "sync_bn", "gn"),
    "model.fpn_channels": _AT_LEAST_1,
    "model.p6_from": _one_of("c5", "p5"),
    "model.tower_channels": _AT_LEAST_1,
    "model.tower_depth": _AT_LEAST_0,
    "model.prior": Rule("between 0 and 1, both excluded", lambda value: 0 < value < 1),
    "model.pixel_std": _ABOVE_0,
    "anchors.strides": _AT_LEAST_1,
    "anchors.base_scale": _ABOVE_0,
    "anchors.scales": _ABOVE_0,
    "anchors.aspect_ratios": _ABOVE_0,
    "anchors.offset": _SHARE,
    "anchors.positive_iou": _SHARE,
    "anchors.negative_iou": _SHARE,
    "anchors.crowd_ignore": _SHARE,
    "loss.classification.alpha": _SHARE,
    "loss.classification.gamma": _AT_LEAST_0,
    "loss.classification.beta": _AT_LEAST_0,
    "loss.classification.bins": _AT_LEAST_1,
    "loss.classification.momentum": _below(0, 1),
    "loss.classification.dice_weight": _AT_LEAST_0,
    "loss.classification.smooth": _AT_LEAST_0,
    "loss.classification.implementation": _one_of("fast", "plain"),
    "loss.box.weight": _AT_LEAST_0,
    "loss.box.beta": _AT_LEAST_0,
    "loss.box.gamma": _AT_LEAST_0,
    "loss.box.alpha": _ABOVE_0,
    "loss.box.delta": _ABOVE_0,
    "loss.box.theta": _AT_LEAST_1,
    "loss.box.mu": _ABOVE_0,
    "loss.box.bins": _AT_LEAST_1,
    "loss.box.momentum": _below(0, 1),
    "loss.box.half_life": _ABOVE_0,
    "loss.box.focal_gamma": _AT_LEAST_0,
    "augment.until": _UNTIL,
    "optimizer.lr": _ABOVE_0,
    "optimizer.lr_batch_size": _AT_LEAST_1,
    "optimizer.momentum": _below(0, 1),
    "optimizer.weight_decay": _AT_LEAST_0,
    "optimizer.betas": _below(0, 1),
    "schedule.drops": _LENGTH,
    "schedule.gamma": _SHARE,
    "schedule.warmup": _LENGTH,
    "schedule.warmup_factor": _SHARE,
    "schedule.final_factor": _SHARE,
    "postprocess.score_threshold": _SHARE,
    "postprocess.candidates_per_level": _AT_LEAST_1,
    "postprocess.nms_iou": _SHARE,
    "postprocess.max_detections": _AT_LEAST_1,
}


def rule_broken(path: str, value: Any) -> str | None:
    """Return the sentence that says how ``value`` breaks the rule of the setting at ``path``, or None."""
    # A term of a sum of losses has the settings of the loss that it is.
    rule = RULES.get(re.sub(r"\.terms\.\w+", "", path))
    if rule is None or value is None:
        return None
    items = value if isinstance(value, list) else [value]
    for item in items:
        try:
            accepted = rule.accepts(item)
        except TypeError:  # its type is wrong, which is told from the signature
            return None
        if not accepted:
            return f"{path} must be {rule.text}, got {item!r}" + (" in it" if items is value else "")
    return None


def rule_met(path: str, value: Any) -> bool:
    """Tell whether ``value`` is a text that ``path`` accepts beside numbers, as '2epoch' for a length."""
    return isinstance(value, str) and RULES.get(path) in (_LENGTH, _UNTIL) and RULES[path].accepts(value)
