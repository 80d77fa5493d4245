from __future__ import annotations

import pytest
import torch

from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.detection.postprocess import PostProcess
from retina.evaluation.detect import detect
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import BoxTargets, ImageBatch, Predictions

CANVAS = (128, 160)
IMAGES = ImageBatch(
    torch.randint(0, 256, (2, 3, *CANVAS), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)),
    torch.tensor([CANVAS, (100, 90)]),
)
OBJECT = BoxTargets(torch.tensor([[10.0, 20.0, 60.0, 90.0]]), torch.tensor([1]), torch.zeros(0, 4))
TARGETS = Assigner()(CANVAS, [OBJECT, OBJECT])


def network(box_tower: str) -> RetinaNet:
    torch.manual_seed(2)
    model = build_retinanet(
        num_classes=3, num_anchors=9, backbone=ResNet(depth=18, norm="gn"), weights=None, fpn_channels=32,
        tower_channels=32, tower_depth=2, box_tower=box_tower,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for subnet in (model.class_subnet, model.box_subnet):
            subnet.predict.weight.mul_(60.0)
    return model


def few_candidates(predictions: Predictions) -> PostProcess:
    """Post-processing that takes the best hundredth of all scores for candidates."""
    return PostProcess(score_threshold=float(predictions.logits.quantile(0.99).sigmoid()))


@pytest.mark.parametrize("targets", [None, TARGETS], ids=["detections only", "with targets"])
@torch.no_grad()
def test_boxes_computed_where_they_are_asked_for_are_the_boxes_of_all(targets):
    dense = network("dense")(IMAGES)
    postprocess = few_candidates(dense)
    expected = postprocess(dense, AnchorGenerator()(dense.grid_sizes), IMAGES.sizes)
    lazy, predictions = detect(
        network("lazy"), IMAGES, anchors=AnchorGenerator(), postprocess=postprocess, targets=targets
    )
    assert 0 < len(predictions.deltas) < dense.deltas.flatten(0, 1).shape[0] / 2, "a test of few among many"
    for found, of_all in zip(lazy, expected, strict=True):
        assert len(of_all) > 3
        torch.testing.assert_close(found.boxes, of_all.boxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(found.labels, of_all.labels)
        torch.testing.assert_close(found.scores, of_all.scores)


@torch.no_grad()
def test_the_loss_beside_the_detections_is_that_of_all_boxes():
    criterion, dense = Criterion(FocalLoss(), L1Loss()), network("dense")(IMAGES)
    _, predictions = detect(
        network("lazy"), IMAGES, anchors=AnchorGenerator(), postprocess=few_candidates(dense), targets=TARGETS
    )
    torch.testing.assert_close(criterion(predictions, TARGETS), criterion(dense, TARGETS))
