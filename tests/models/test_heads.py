from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead

from retina.models.heads import Subnet, start_as_background


def levels(channels: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, *size, generator=generator) for size in [(5, 7), (3, 4), (1, 2)]]


def copy_weights(ours: Subnet, theirs_tower: nn.Module, theirs_predict: nn.Conv2d) -> None:
    """Give torchvision's head our weights, ten times as large so that outputs differ from their biases."""
    convolutions = [module for module in theirs_tower.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(10)
                nn.init.normal_(module.bias)
    mine = [module for module in ours.tower if isinstance(module, nn.Conv2d)]
    for source, target in zip([*mine, ours.predict], [*convolutions, theirs_predict], strict=True):
        target.load_state_dict(source.state_dict())


def test_class_logits_are_torchvisions():
    ours = Subnet(16, num_anchors=9, num_outputs=5, channels=16, depth=4)
    theirs = RetinaNetClassificationHead(16, 9, 5)
    copy_weights(ours, theirs.conv, theirs.cls_logits)
    logits = ours(levels(16))
    assert logits.shape == (2, (35 + 12 + 2) * 9, 5)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, theirs(levels(16)))


def test_box_deltas_are_torchvisions():
    ours, theirs = Subnet(16, num_anchors=9, num_outputs=4, channels=16, depth=4), RetinaNetRegressionHead(16, 9)
    copy_weights(ours, theirs.conv, theirs.bbox_reg)
    deltas = ours(levels(16))
    assert deltas.shape == (2, (35 + 12 + 2) * 9, 4)
    torch.testing.assert_close(deltas, theirs(levels(16)))


def test_outputs_are_ordered_by_level_row_column_and_shape():
    subnet = Subnet(1, num_anchors=2, num_outputs=3, depth=0)
    with torch.no_grad():
        nn.init.zeros_(subnet.predict.weight)
        subnet.predict.weight[:, :, 1, 1] = 1.0  # every output is the cell's value plus its bias
        subnet.predict.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    first, second = torch.arange(6.0).view(1, 1, 2, 3), torch.full((1, 1, 1, 1), 6.0)
    outputs = subnet([first, second])
    shapes = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    expected = torch.cat([cell + shapes for cell in torch.arange(7.0)])
    torch.testing.assert_close(outputs[0], expected)


def test_channels_last_maps_give_the_same_outputs():
    subnet = Subnet(16, num_anchors=3, num_outputs=5, channels=8, depth=2)
    last = [level.to(memory_format=torch.channels_last) for level in levels(16)]
    expected = subnet(levels(16))
    torch.testing.assert_close(subnet.to(memory_format=torch.channels_last)(last), expected)


@pytest.mark.parametrize("prior", [0.01, 0.2])
def test_every_class_starts_at_the_prior(prior):
    torch.manual_seed(0)
    subnet = start_as_background(Subnet(32, num_anchors=9, num_outputs=4, channels=32), prior, softmax=False)
    scores = subnet(levels(32)).sigmoid()
    torch.testing.assert_close(scores, torch.full_like(scores, prior), rtol=0.05, atol=0)


@pytest.mark.parametrize("num_classes", [1, 4])
@pytest.mark.parametrize("prior", [0.01, 0.2])
def test_of_a_softmax_the_background_starts_at_what_the_prior_leaves(prior, num_classes):
    torch.manual_seed(0)
    subnet = Subnet(32, num_anchors=9, num_outputs=num_classes + 1, channels=32)
    start_as_background(subnet, prior, softmax=True)
    logits = subnet(levels(32))
    assert logits.shape == (2, 49 * 9, num_classes + 1)
    scores = logits.softmax(dim=2)
    torch.testing.assert_close(scores[..., -1], torch.full_like(scores[..., -1], 1 - prior), rtol=0.01, atol=0)
    classes = scores[..., :-1]
    torch.testing.assert_close(classes, torch.full_like(classes, prior / num_classes), rtol=0.05, atol=0)


@pytest.mark.parametrize(("channels", "depth"), [(8, 0), (8, 1), (24, 3)])
def test_width_and_depth_are_settings(channels, depth):
    subnet = Subnet(16, num_anchors=9, num_outputs=4, channels=channels, depth=depth)
    convolutions = [module for module in subnet.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth + 1
    assert all(convolution.out_channels == channels for convolution in convolutions[:-1])
    assert subnet(levels(16)).shape == (2, 49 * 9, 4)
