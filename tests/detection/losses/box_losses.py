"""Every box loss with settings that make it differ from the others, for the tests that hold for all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from retina.detection.losses.box import BalancedL1Loss, BoxLoss, FocalL1Loss, HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.overlap import (
    AlphaIoULoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    FocalEIoULoss,
    GIoULoss,
    IoULoss,
    SIoULoss,
    WIoULoss,
)
from retina.detection.losses.running import GHMRLoss, WIoUv3Loss

# Makers: some losses remember what they were given.
OVERLAP: dict[str, Callable[[], BoxLoss]] = {
    "iou": IoULoss,
    "iou_log": lambda: IoULoss(logarithm=True),
    "alpha_iou": AlphaIoULoss,
    "alpha_iou_root": lambda: AlphaIoULoss(alpha=0.5),
    "giou": GIoULoss,
    "diou": DIoULoss,
    "ciou": CIoULoss,
    "eiou": EIoULoss,
    "siou": SIoULoss,
    "wiou": WIoULoss,
    "wiou_v3": lambda: WIoUv3Loss(half_life=2.0),
    "focal_eiou": FocalEIoULoss,
    "focal_eiou_normalised": lambda: FocalEIoULoss(normalise_weights=True),
}
DELTAS: dict[str, Callable[[], BoxLoss]] = {
    "l1": L1Loss,
    "smooth_l1": lambda: SmoothL1Loss(beta=0.5),
    "huber": HuberLoss,
    "mse": MSELoss,
    "balanced_l1": BalancedL1Loss,
    "focal_l1": FocalL1Loss,
    "ghm_r": GHMRLoss,
}
EVERY = OVERLAP | DELTAS


def rows(predicted: Tensor, true: Tensor) -> BoxPairs:
    """Pairs that have these ``(P, 4)`` rows as boxes, and as codes too."""
    dtype = torch.promote_types(true.dtype, torch.float32)
    pairs = BoxPairs.of_boxes(predicted.to(dtype), true.to(dtype))
    vars(pairs)["codes"] = pairs.boxes
    return pairs
