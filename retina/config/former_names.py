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
    "retina.models.backbones": "retina.models.backbones.resnet",
    "retina.models.blocks": "retina.models.backbones.blocks",
}


def present_name(target: str) -> str:
    """Return the full name that ``target``, a full name of any version, has now."""
    if target in FORMER_NAMES:
        return FORMER_NAMES[target]
    module, _, name = target.rpartition(".")
    moved = f"{FORMER_NAMES[module]}.{name}" if module in FORMER_NAMES else target
    return FORMER_NAMES.get(moved, moved)


def renamed(tree: Any) -> Any:
    """Return the plain configuration ``tree`` with the present name in each ``_target_``, and one for each backbone."""
    if isinstance(tree, Mapping):
        now: dict[str, Any] = {
            name: present_name(value) if name == "_target_" and isinstance(value, str) else renamed(value)
            for name, value in tree.items()
        }
        if now.get("_target_") == "retina.models.retinanet.build_retinanet" and isinstance(now.get("backbone"), dict):
            # There was one family of backbones, so none was named.
            now["backbone"] = {"_target_": "retina.models.backbones.resnet.ResNet", **now["backbone"]}
        return now
    return [renamed(item) for item in tree] if isinstance(tree, list) else tree
