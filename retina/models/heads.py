"""The two subnets that share their weights over all pyramid levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Subnet(nn.Module):
    """A tower of 3x3 convolutions with ReLU, then a 3x3 convolution to the outputs of every anchor of a cell.

    Source: Lin et al. 2017, Focal Loss, section 4 (towers of depth 4 and width 256, not shared between the two
    tasks) and section 4.1 (normal initialisation of sigma 0.01).
    """

    def __init__(
        self, in_channels: int, *, num_anchors: int, num_outputs: int, channels: int = 256, depth: int = 4
    ) -> None:
        super().__init__()
        self.num_anchors, self.num_outputs = num_anchors, num_outputs  # anchors of one cell, outputs of one anchor
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [nn.Conv2d(in_channels if index == 0 else channels, channels, 3, padding=1), nn.ReLU()]
        self.tower = nn.Sequential(*layers)
        self.predict = nn.Conv2d(channels if depth else in_channels, num_anchors * num_outputs, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return ``(B, A, num_outputs)`` for pyramid levels ``(B, C, h, w)``, anchors by level, row, column, shape."""
        outputs = []
        for level in levels:
            maps = self.predict(self.tower(level))  # (B, shapes * outputs, h, w)
            # With channels-last maps the permutation is free.
            outputs.append(maps.permute(0, 2, 3, 1).reshape(len(maps), -1, self.num_outputs))
        return torch.cat(outputs, dim=1)


@torch.no_grad()
def start_as_background(subnet: Subnet, prior: float, *, softmax: bool) -> Subnet:
    """Return a class subnet whose biases start every anchor at a foreground probability of ``prior``.

    With ``softmax`` the last output is the background's; with its logit b and those of K classes 0,
    ``exp(b) / (K + exp(b)) = 1 - prior``.

    Source: Lin et al. 2017, Focal Loss, section 3.3 and 4.1 (bias -log((1 - pi) / pi), pi = 0.01).
    """
    biases = subnet.predict.bias.view(subnet.num_anchors, subnet.num_outputs)  # type: ignore[union-attr]
    # fill_: assigning a number to a slice under torch's FakeTensorMode (torch 2.14.1) corrupts the heap.
    if softmax:
        biases[:, -1].fill_(math.log((subnet.num_outputs - 1) * (1 - prior) / prior))
    else:
        biases.fill_(-math.log((1 - prior) / prior))
    return subnet
