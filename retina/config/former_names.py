"""Names that configurations of former versions use, and what stands in their place now.

Checkpoints, run directories and users' commands carry names of classes and settings, so a name that has moved goes on
working through this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Modules that have moved, and single classes or functions that have moved or have another name.
FORMER_NAMES: dict[str, str] = {
    "retina.data.crops": "retina.data.transforms.crops",
    "retina.data.mixing": "retina.data.transforms.mixing",
    "retina.data.copy_paste": "retina.data.transforms.copy_paste",
    "retina.data.resize": "retina.data.transforms.resize",
    "retina.data.formats.csv_table": "retina.formats.csv_table",
    "retina.data.formats.voc": "retina.formats.voc",
    "retina.data.formats.yolo": "retina.formats.yolo",
    "retina.detection.losses.box_codes": "retina.detection.losses.box",
    "retina.detection.losses.box_overlap": "retina.detection.losses.overlap",
    "retina.detection.losses.box_running": "retina.detection.losses.running",
    "retina.detection.losses.box_sum": "retina.detection.losses.weighted",
    "retina.detection.losses.box.GIoULoss": "retina.detection.losses.overlap.GIoULoss",
    "retina.detection.losses.box.DIoULoss": "retina.detection.losses.overlap.DIoULoss",
    "retina.detection.losses.box.CIoULoss": "retina.detection.losses.overlap.CIoULoss",
    "retina.detection.losses.box.EIoULoss": "retina.detection.losses.overlap.EIoULoss",
    "retina.detection.losses.box.FocalEIoULoss": "retina.detection.losses.overlap.FocalEIoULoss",
    "retina.detection.losses.focal_dice": "retina.detection.losses.self_normalised",
    "retina.detection.losses.ghm_c": "retina.detection.losses.self_normalised",
    "retina.detection.losses.iou_aware": "retina.detection.losses.focal_family",
    "retina.detection.losses.penalty_reduced": "retina.detection.losses.focal_family",
    "retina.detection.losses.softmax_focal": "retina.detection.losses.focal_family",
    "retina.data.augment.ColorMatrix": "retina.data.transforms.color.ColorMatrix",
    "retina.data.sampling_shape": "retina.data.sampling",
    "retina.models.backbones": "retina.models.backbones.resnet",
    "retina.models.blocks": "retina.models.backbones.blocks",
}


# Settings, by their dotted path.
FORMER_SETTINGS = {"loss.box.focal_gamma": "loss.focal_gamma"}

# What a backbone was before its section named a class.
_FORMER_BACKBONE = "retina.models.backbones.resnet.ResNet"


def present_name(target: str) -> str:
    """Return the full name that ``target``, a full name of any version, has now."""
    if target in FORMER_NAMES:
        return FORMER_NAMES[target]
    module, _, name = target.rpartition(".")
    moved = f"{FORMER_NAMES[module]}.{name}" if module in FORMER_NAMES else target
    return FORMER_NAMES.get(moved, moved)


def present_setting(path: str) -> str:
    """Return the dotted path that the setting ``path`` of any version has now."""
    return FORMER_SETTINGS.get(path, path)


def moved_setting(path: str) -> str:
    """Return the present path of a setting below whose former section ``path`` has its name; empty: there is none."""
    for former, present in FORMER_SETTINGS.items():
        section, _, name = former.rpartition(".")
        if path.startswith(f"{section}.") and path.endswith(f".{name}"):
            return present
    return ""


def present_tree(tree: Any) -> Any:
    """Return the plain configuration ``tree`` of any version with present names: of targets and of settings."""
    tree = _renamed(tree)
    if not isinstance(tree, dict):
        return tree
    backbone = (tree.get("model") or {}).get("backbone") if isinstance(tree.get("model"), dict) else None
    if isinstance(backbone, dict):
        backbone.setdefault("_target_", _FORMER_BACKBONE)
    for former, present in FORMER_SETTINGS.items():
        section, _, name = former.rpartition(".")
        node = _section(tree, section)
        if node is not None and name in node:
            value = node.pop(name)
            parent, _, present_name = present.rpartition(".")
            target = _section(tree, parent)
            if target is not None and target.get(present_name) is None:
                target[present_name] = value
    # Of a sum of losses it could stand in each term, where null said nothing.
    for term in (_section(tree, "loss.box.terms") or {}).values():
        if isinstance(term, dict) and term.get("focal_gamma", 0) is None:
            del term["focal_gamma"]
    return tree


def _section(tree: Any, path: str) -> dict[str, Any] | None:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _renamed(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {
            name: present_name(value) if name == "_target_" and isinstance(value, str) else _renamed(value)
            for name, value in tree.items()
        }
    return [_renamed(item) for item in tree] if isinstance(tree, list) else tree
