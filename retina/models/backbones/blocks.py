"""The residual blocks of a ResNet with frozen batch norm applied to the convolution's weight instead of its output."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.models.resnet import BasicBlock as TorchvisionBasicBlock
from torchvision.models.resnet import Bottleneck as TorchvisionBottleneck
from torchvision.ops import FrozenBatchNorm2d


def convolve_and_normalise(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, *, fold: bool = True) -> Tensor:
    """Return ``norm(convolution(x))``.

    Frozen batch norm is a fixed scale and shift of each channel, so with ``fold`` the weight is scaled rather than the
    much larger output: one pass over the output less, and its gradient flows through one operation less. The scale is
    applied in each forward pass, so gradient, momentum and weight decay remain those of the weight itself.

    Source: Ioffe and Szegedy 2015, Batch Normalization, algorithm 2, step 11 (the transform at fixed statistics).
    """
    if not (fold and isinstance(norm, FrozenBatchNorm2d)):
        return norm(convolution(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    device_type = x.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x.dtype
    geometry = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    return _ScaledConvolution.apply(x.to(dtype), convolution.weight, scale.view(-1, 1, 1, 1), shift.to(dtype), geometry)


class _ScaledConvolution(torch.autograd.Function):
    """A convolution with ``weight * scale``, which is made again for the gradient.

    Kept from forward to backward, the scaled weights of a ResNet-50 would be 94 MB.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, geometry: tuple) -> Tensor:
        ctx.save_for_backward(x, weight, scale)
        ctx.geometry = geometry
        return F.conv2d(x, (weight * scale).to(x.dtype), shift, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = (*ctx.needs_input_grad[:2], False)  # the shift has no gradient
        of_x, of_scaled, _ = torch.ops.aten.convolution_backward(
            gradient, x, (weight * scale).to(x.dtype), None, stride, padding, dilation, False, (0, 0), groups, wanted
        )
        return of_x, None if of_scaled is None else of_scaled.to(weight.dtype) * scale, None, None, None


class BasicBlock(TorchvisionBasicBlock):
    """Two 3x3 convolutions; parameters named as torchvision names them.

    Source: He et al. 2016, Deep Residual Learning, figure 5, left.
    """

    fold = True

    def forward(self, x: Tensor) -> Tensor:
        return _residual(self, x, (self.conv1, self.bn1), (self.conv2, self.bn2))


class Bottleneck(TorchvisionBottleneck):
    """A 1x1, a 3x3 and a 1x1 convolution; the stride is in the 3x3; parameters named as torchvision names them.

    Source: He et al. 2016, Deep Residual Learning, figure 5, right.
    """

    fold = True

    def forward(self, x: Tensor) -> Tensor:
        return _residual(self, x, (self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3))


def _residual(
    block: BasicBlock | Bottleneck, x: Tensor, first: tuple[nn.Conv2d, nn.Module], *others: tuple[nn.Conv2d, nn.Module]
) -> Tensor:
    """Return ``(B, C, h, w)`` features: what the convolutions and norms make of ``x``, and ``x`` or its projection."""
    out = convolve_and_normalise(x, *first, fold=block.fold)
    for layer in others:
        out = convolve_and_normalise(block.relu(out), *layer, fold=block.fold)
    shortcut = x if block.downsample is None else convolve_and_normalise(x, *block.downsample, fold=block.fold)
    return block.relu(out + shortcut)
