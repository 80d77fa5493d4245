"""Every box loss with settings that make it differ from the others, for the tests that hold for all."""

from __future__ import annotations

from collections.abc import Callable

from retina.detection.losses.box import (
    BoxLoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    FocalEIoULoss,
    GIoULoss,
    L1Loss,
    SmoothL1Loss,
)
from retina.detection.losses.box_codes import BalancedL1Loss, FocalL1Loss, HuberLoss, MSELoss
from retina.detection.losses.box_overlap import AlphaIoULoss, IoULoss, SIoULoss, WIoULoss
from retina.detection.losses.box_running import GHMRLoss, WIoUv3Loss

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
