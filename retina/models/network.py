"""From the section ``model`` of a configuration to a network on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from retina.build import build
from retina.config.sections import with_norm
from retina.machine import Machine


def build_model(
    node: Mapping[str, Any],
    *,
    num_classes: int,
    num_anchors: int,
    machine: Machine,
    channels_last: bool = True,
    load_weights: bool = True,
) -> nn.Module:
    """Build the network of the section ``model`` on its device; ``load_weights`` False: a checkpoint brings them."""
    node = with_norm(node)
    backbone = node["backbone"]
    if node.get("norm", "auto") != "auto":
        backbone = {**backbone, "norm": node["norm"]}
    model = build(
        {**node, "backbone": backbone}, num_classes=num_classes, num_anchors=num_anchors, load_weights=load_weights
    )
    return model.to(machine.device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
