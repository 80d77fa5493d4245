from __future__ import annotations

import copy

import pytest
import torch

from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import BoxCells, ImageBatch
from retina.training.compilation import COMPILED_PARTS, compile_parts, without_compilation

IMAGES = ImageBatch(
    torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.tensor([[64, 64]]),
)


@pytest.fixture
def model() -> RetinaNet:
    torch.manual_seed(0)
    return build_retinanet(
        num_classes=2,
        num_anchors=9,
        backbone=ResNet(depth=18),
        weights="imagenet",
        load_weights=False,
        fpn_channels=16,
        tower_channels=16,
        tower_depth=1,
    )


def outputs_and_gradients(model: RetinaNet) -> tuple[torch.Tensor, ...]:
    predictions = model(IMAGES, BoxCells(torch.tensor([3, 40, 500])))
    (predictions.logits.sin().sum() + predictions.deltas.sin().sum()).backward()
    gradients = tuple(p.grad for p in model.parameters() if p.grad is not None)
    return (predictions.logits.detach(), predictions.deltas.detach(), *gradients)


def test_a_compiled_network_gives_the_same_outputs_gradients_and_names(model):
    plain = copy.deepcopy(model)
    seen: list[int] = []

    def count(graph, inputs):
        seen.append(len(inputs))
        return graph.forward

    compile_parts(model, backend=count)
    for ours, expected in zip(outputs_and_gradients(model), outputs_and_gradients(plain), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert len(seen) >= len(COMPILED_PARTS), "something was compiled"
    assert list(model.state_dict()) == list(plain.state_dict())


def test_evaluation_and_copies_are_not_compiled(model):
    def refuse(graph, inputs):
        raise AssertionError("compiled after all")

    compile_parts(model, backend=refuse)
    with torch.no_grad(), without_compilation():
        model(IMAGES)
    with torch.no_grad():
        copy.deepcopy(model)(IMAGES)
