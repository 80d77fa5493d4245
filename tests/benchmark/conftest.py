"""A small network of ours and its batch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from retina.benchmark.steps import TrainStep, without_progress
from retina.benchmark.synthetic import synthetic_images, synthetic_targets
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import BoxTargets, ImageBatch
from retina.training.optimizers import build_sgd

NUM_CLASSES = 5
CANVAS = (128, 160)


@dataclass
class Small:
    model: RetinaNet
    anchors: AnchorGenerator
    images: ImageBatch
    objects: list[BoxTargets]

    def train_step(self, *, lr: float = 0.0) -> TrainStep:
        criterion, optimizer = Criterion(FocalLoss(), L1Loss()), build_sgd(self.model, lr=lr or 1.0)
        if lr == 0:
            without_progress(optimizer)
        return TrainStep(self.model, criterion, optimizer, Assigner(self.anchors), self.images, self.objects)


@pytest.fixture
def small() -> Small:
    """One image of 12 objects and a ResNet-18 of random weights whose stem and first stage are frozen."""
    torch.manual_seed(0)
    anchors = AnchorGenerator()
    model = build_retinanet(
        num_classes=NUM_CLASSES,
        num_anchors=anchors.num_per_cell,
        backbone=ResNet(depth=18, frozen_stages=2, norm="frozen_bn"),
        weights="imagenet",
        load_weights=False,
    )
    for subnet in (model.class_subnet, model.box_subnet):
        for module in subnet.modules():
            if isinstance(module, nn.Conv2d):  # else deltas are next to 0 and would agree whatever was computed
                nn.init.normal_(module.weight, std=0.03)
    objects = synthetic_targets(1, CANVAS, num_boxes=12, num_classes=NUM_CLASSES)
    return Small(model.train(), anchors, synthetic_images(1, CANVAS), objects)
