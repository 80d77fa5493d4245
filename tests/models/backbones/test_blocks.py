from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock as TorchvisionBasicBlock
from torchvision.models.resnet import Bottleneck as TorchvisionBottleneck
from torchvision.ops import FrozenBatchNorm2d

from retina.models.backbones.blocks import BasicBlock, Bottleneck, convolve_and_normalise
from retina.models.backbones.resnet import ResNet

PAIRS = [(BasicBlock, TorchvisionBasicBlock), (Bottleneck, TorchvisionBottleneck)]


def with_statistics(module: nn.Module) -> nn.Module:
    """Give every norm of ``module`` parameters and statistics as a pretrained network has them."""
    generator = torch.Generator().manual_seed(5)
    for norm in module.modules():
        if isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
            for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module


def make_block(kind, norm_layer, stride: int) -> nn.Module:
    torch.manual_seed(0)
    out_channels = 8 * kind.expansion
    downsample = nn.Sequential(nn.Conv2d(8, out_channels, 1, stride=stride, bias=False), norm_layer(out_channels))
    return with_statistics(kind(8, 8, stride=stride, downsample=downsample, norm_layer=norm_layer)).double()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("norm_layer", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("fold", [True, False])
def test_a_block_is_torchvisions_block(ours, theirs, norm_layer, stride, fold):
    block, reference = make_block(ours, norm_layer, stride), make_block(theirs, norm_layer, stride)
    block.fold = fold
    assert list(block.state_dict()) == list(reference.state_dict())
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    outputs, expected = block(x), reference(x)
    torch.testing.assert_close(outputs, expected)
    gradients = torch.autograd.grad(outputs.sin().sum(), [x, *block.parameters()])
    of_reference = torch.autograd.grad(expected.sin().sum(), [x, *reference.parameters()])
    torch.testing.assert_close(gradients, of_reference)


def test_twenty_steps_of_sgd_follow_the_plain_form():
    """Gradient, momentum and weight decay are those of the raw weight, not of the scaled one."""
    torch.manual_seed(0)
    plain = with_statistics(ResNet(18, norm="frozen_bn", frozen_stages=2, fold_norm=False)).double().train()
    folded = copy.deepcopy(plain)
    for module in folded.modules():
        if isinstance(module, BasicBlock):
            module.fold = True
    folded.fold_norm = True
    start = copy.deepcopy(plain.state_dict())
    pixels = torch.randn(20, 1, 3, 32, 32, dtype=torch.float64)
    for network in (plain, folded):
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9, weight_decay=0.1)
        for image in pixels:
            optimizer.zero_grad()
            sum(feature.square().mean() for feature in network(image)).backward()
            optimizer.step()
    moved = [name for name, value in plain.state_dict().items() if not torch.equal(value, start[name])]
    assert len(moved) == 15, "the convolutions of three stages"
    for name, value in folded.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-9, atol=1e-12, msg=name)


def test_only_frozen_batch_norm_is_folded():
    convolution, calls = nn.Conv2d(3, 4, 3, bias=False), []
    norm = nn.BatchNorm2d(4)
    norm.register_forward_hook(lambda *_: calls.append(1))
    convolve_and_normalise(torch.randn(1, 3, 8, 8), convolution, norm)
    assert calls == [1], "its statistics are those of the batch: they must be seen"


@pytest.mark.parametrize("fold_norm", [True, False])
def test_the_backbone_hands_the_switch_to_its_blocks(fold_norm):
    network = ResNet(18, norm="frozen_bn", fold_norm=fold_norm)
    switches = [module.fold for module in network.modules() if isinstance(module, BasicBlock)]
    assert switches == [fold_norm] * 8
