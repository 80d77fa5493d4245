"""The feature pyramid: C3..C5 of a backbone to P3..P7 of one width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from retina.ranges import AtLeast1, checked


@checked
class FeaturePyramid(nn.Module):
    """Top-down pyramid with two extra coarse levels.

    P5..P3: 1x1 lateral convolutions, nearest upsampling added from above, a 3x3 convolution on each sum. P6 is a 3x3
    convolution of stride 2 on C5 (or P5), P7 a ReLU and another of stride 2 on P6.

    Source: Lin et al. 2017, Feature Pyramid Networks, section 3; Lin et al. 2017, Focal Loss, section 4, footnote 2
    (P6 from C5, P7 with ReLU).
    """

    def __init__(
        self, in_channels: Sequence[int], channels: AtLeast1 = 256, p6_from: Literal["c5", "p5"] = "c5"
    ) -> None:
        super().__init__()
        self.p6_from = p6_from
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        p6_channels = in_channels[-1] if p6_from == "c5" else channels
        self.p6 = nn.Conv2d(p6_channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return [P3, P4, P5, P6, P7], each ``(B, channels, h, w)``, for features [C3, C4, C5]."""
        merged: list[Tensor] = []
        for lateral, feature in zip(reversed(self.lateral), reversed(features), strict=True):
            inner = lateral(feature)
            if merged:
                inner = inner + F.interpolate(merged[-1], size=inner.shape[-2:], mode="nearest")
            merged.append(inner)
        levels = [conv(inner) for conv, inner in zip(self.output, reversed(merged), strict=True)]
        p6 = _halve(features[-1] if self.p6_from == "c5" else levels[-1], self.p6)
        return [*levels, p6, _halve(F.relu(p6), self.p7)]


def _halve(features: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return ``conv`` of ``features``; padded by hand where the map is one cell wide.

    There the bfloat16 kernel of the CPU (torch 2.14.1) writes only a part of the gradient of a padded convolution of
    stride 2 and leaves what was in memory in the rest. Images of at most 64 pixels have such maps.
    """
    if features.shape[-1] > 1:
        return conv(features)
    return F.conv2d(F.pad(features, (1, 1, 1, 1)), conv.weight, conv.bias, stride=2)
