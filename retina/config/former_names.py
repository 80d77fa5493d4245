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
    "retina.data.augment.ColorMatrix": "retina.data.transforms.color.ColorMatrix",
    "retina.data.sampling_shape": "retina.data.sampling",
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
    """Return the plain configuration ``tree`` with the present name in each ``_target_``."""
    if isinstance(tree, Mapping):
        return {
            name: present_name(value) if name == "_target_" and isinstance(value, str) else renamed(value)
            for name, value in tree.items()
        }
    return [renamed(item) for item in tree] if isinstance(tree, list) else tree
