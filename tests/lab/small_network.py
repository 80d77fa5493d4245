"""A small network and four images, one without objects."""

from __future__ import annotations

import numpy as np
import torch

from retina.data.collate import Collate
from retina.detection.assign import Assigner
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import Batch, BoxTargets, Sample

CLASS_NAMES = ("cat", "<script>alert(1)</script>", "$\\frac{1}")
SIDE = 96


def make_model(*, scores: str = "sigmoid", norm: str = "bn") -> RetinaNet:
    """A narrow network whose scores are not all the same."""
    torch.manual_seed(0)
    model = build_retinanet(
        num_classes=3, num_anchors=9, backbone=ResNet(depth=18, norm=norm), weights=None, fpn_channels=16,
        tower_channels=16, tower_depth=1, scores=scores,
    )  # fmt: skip
    for subnet in (model.class_subnet, model.box_subnet):
        torch.nn.init.normal_(subnet.predict.weight, std=0.3)
    return model


def make_batches(*, center_heat: bool = False) -> list[Batch]:
    """Two batches of two images; the last image is empty but for a crowd."""
    rng = np.random.default_rng(0)
    boxes = [[[8, 8, 56, 60], [60, 50, 90, 88]], [[20, 16, 84, 80]], [[2, 2, 12, 9]], []]
    samples = []
    for number, rows in enumerate(boxes):
        image = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        crowd = torch.tensor([[0.0, 0.0, 40.0, 40.0]]) if not rows else torch.zeros(0, 4)
        targets = BoxTargets(torch.tensor(rows).float().reshape(-1, 4), torch.arange(len(rows)), crowd)
        samples.append(Sample(image, targets, number, (SIDE, SIDE)))
    collate = Collate(Assigner(center_heat=center_heat))
    return [collate(samples[:2]), collate(samples[2:])]
