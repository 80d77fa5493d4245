from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from retina.models.fpn import FeaturePyramid

WIDTHS = (8, 12, 24)


def features(height: int, width: int, *, batch: int = 2) -> list[Tensor]:
    """C3, C4, C5 of an image of this size, each stride rounding up."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride), generator=generator)
        for channels, stride in zip(WIDTHS, (8, 16, 32), strict=True)
    ]


def torchvisions(ours: FeaturePyramid, channels: int, p6_channels: int) -> FeaturePyramidNetwork:
    """Torchvision's pyramid with the same weights."""
    theirs = FeaturePyramidNetwork(list(WIDTHS), channels, extra_blocks=LastLevelP6P7(p6_channels, channels))
    for level in range(3):
        theirs.inner_blocks[level][0].load_state_dict(ours.lateral[level].state_dict())
        theirs.layer_blocks[level][0].load_state_dict(ours.output[level].state_dict())
    theirs.extra_blocks.p6.load_state_dict(ours.p6.state_dict())
    theirs.extra_blocks.p7.load_state_dict(ours.p7.state_dict())
    return theirs


@pytest.mark.parametrize(("p6_from", "p6_channels"), [("c5", WIDTHS[-1]), ("p5", 16)])
@pytest.mark.parametrize("canvas", [(128, 160), (97, 131)])
def test_levels_are_torchvisions(p6_from, p6_channels, canvas):
    ours = FeaturePyramid(WIDTHS, 16, p6_from)
    theirs = torchvisions(ours, 16, p6_channels)
    assert theirs.extra_blocks.use_P5 == (p6_from == "p5")
    inputs = features(*canvas)
    expected = theirs({str(level): feature for level, feature in enumerate(inputs)})
    levels = ours(inputs)
    assert len(levels) == len(expected) == 5
    for level, theirs_level in zip(levels, expected.values(), strict=True):
        torch.testing.assert_close(level, theirs_level)


def test_an_odd_image_gives_levels_of_rounded_up_size():
    levels = FeaturePyramid(WIDTHS, 4)(features(97, 131))
    assert [tuple(level.shape) for level in levels] == [
        (2, 4, 13, 17),
        (2, 4, 7, 9),
        (2, 4, 4, 5),
        (2, 4, 2, 3),
        (2, 4, 1, 2),
    ]


def test_a_coarse_level_is_added_to_the_finer_ones_by_its_nearest_cell():
    pyramid = FeaturePyramid((1, 1, 1), 1)
    with torch.no_grad():
        for convolution in pyramid.lateral:
            nn.init.ones_(convolution.weight)
        for convolution in pyramid.output:
            nn.init.dirac_(convolution.weight)
    c5 = torch.tensor([[[[1.0, 2.0]]]])
    p3, p4, p5, _, _ = pyramid([torch.full((1, 1, 4, 8), 100.0), torch.full((1, 1, 2, 4), 10.0), c5])
    assert p5.tolist() == [[[[1, 2]]]]
    assert p4.tolist() == [[[[11, 11, 12, 12]] * 2]]
    assert p3.tolist() == [[[[111] * 4 + [112] * 4] * 4]]


def test_every_parameter_gets_a_gradient_and_biases_start_at_zero():
    pyramid = FeaturePyramid(WIDTHS, 4)
    assert all((module.bias == 0).all() for module in pyramid.modules() if isinstance(module, nn.Conv2d))
    sum(level.sum() for level in pyramid(features(64, 64))).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pyramid.parameters())


def test_another_source_of_p6_is_refused():
    with pytest.raises(ValueError, match=r"p6_from must be one of c5, p5, got 'c4'"):
        FeaturePyramid(WIDTHS, 4, "c4")


@pytest.mark.parametrize("size", [(2, 2), (6, 1), (1, 1)], ids=str)
def test_gradients_of_maps_one_cell_wide_are_right_in_bfloat16(size):
    # The kernel of a padded convolution of stride 2 leaves a part of the gradient unwritten there; memory that was
    # used before shows it.
    torch.manual_seed(0)
    fpn = FeaturePyramid([8, 16, 32], channels=32)
    features = [torch.randn(2, width, *(side * scale for side in size)) for width, scale in ((8, 4), (16, 2), (32, 1))]
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        for _ in range(8):
            del [torch.full((32 * 32 * 9,), torch.nan, dtype=torch.bfloat16) for _ in range(6)][:]
            fpn.zero_grad()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
                _, _, _, p6, p7 = fpn(features)
            (p6.float().square().sum() + p7.float().square().sum()).backward()
            gradients.append([fpn.p6.weight.grad.clone(), fpn.p7.weight.grad.clone()])
    for gradient in gradients[1:]:
        for ours, expected in zip(gradient, gradients[0], strict=True):
            torch.testing.assert_close(ours, expected, rtol=0.05, atol=0.05 * expected.abs().max().item())
