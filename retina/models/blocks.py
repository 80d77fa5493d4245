"""The residual blocks of a ResNet with frozen batch norm applied to the convolution's weight instead of its output."""

from __future__ import annotations

from torch import Tensor, nn
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
    return convolution._conv_forward(x, convolution.weight * scale.view(-1, 1, 1, 1), shift)


class BasicBlock(TorchvisionBasicBlock):
    """Two 3x3 convolutions; parameters named as torchvision names them.

    Source: He et al. 2016, Deep Residual Learning, figure 5, left.
    """

    fold = True

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, h, w)`` features for those of the block before."""
        out = self.relu(convolve_and_normalise(x, self.conv1, self.bn1, fold=self.fold))
        out = convolve_and_normalise(out, self.conv2, self.bn2, fold=self.fold)
        return self.relu(out + _shortcut(x, self.downsample, fold=self.fold))


class Bottleneck(TorchvisionBottleneck):
    """A 1x1, a 3x3 and a 1x1 convolution; the stride is in the 3x3; parameters named as torchvision names them.

    Source: He et al. 2016, Deep Residual Learning, figure 5, right.
    """

    fold = True

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, h, w)`` features for those of the block before."""
        out = self.relu(convolve_and_normalise(x, self.conv1, self.bn1, fold=self.fold))
        out = self.relu(convolve_and_normalise(out, self.conv2, self.bn2, fold=self.fold))
        out = convolve_and_normalise(out, self.conv3, self.bn3, fold=self.fold)
        return self.relu(out + _shortcut(x, self.downsample, fold=self.fold))


def _shortcut(x: Tensor, downsample: nn.Sequential | None, *, fold: bool) -> Tensor:
    if downsample is None:
        return x
    convolution, norm = downsample
    assert isinstance(convolution, nn.Conv2d)
    return convolve_and_normalise(x, convolution, norm, fold=fold)
