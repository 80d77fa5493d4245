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
        """Args: ``num_outputs`` of each anchor; ``channels`` and ``depth`` of the tower."""
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


def class_subnet(
    in_channels: int, *, num_anchors: int, num_classes: int, channels: int, depth: int, prior: float
) -> Subnet:
    """Build the class subnet; every anchor starts at a foreground probability of ``prior``.

    Source: Lin et al. 2017, Focal Loss, section 3.3 and 4.1 (bias -log((1 - pi) / pi), pi = 0.01).
    """
    _check_prior(prior)
    subnet = Subnet(in_channels, num_anchors=num_anchors, num_outputs=num_classes, channels=channels, depth=depth)
    nn.init.constant_(subnet.predict.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]
    return subnet


def softmax_class_subnet(
    in_channels: int, *, num_anchors: int, num_classes: int, channels: int, depth: int, prior: float
) -> Subnet:
    """Build the class subnet of one softmax over the classes and, as the last output, the background.

    Every anchor starts as background with a probability of ``1 - prior``; the classes share the rest. It is what
    :func:`class_subnet` has of Lin et al. 2017, for the softmax: with logits 0 of K classes and b of the background,
    ``exp(b) / (K + exp(b)) = 1 - pi``.
    """
    _check_prior(prior)
    subnet = Subnet(in_channels, num_anchors=num_anchors, num_outputs=num_classes + 1, channels=channels, depth=depth)
    with torch.no_grad():
        biases = subnet.predict.bias.view(num_anchors, num_classes + 1)  # type: ignore[union-attr]
        biases[:, -1] = math.log(num_classes * (1 - prior) / prior)
    return subnet


def box_subnet(in_channels: int, *, num_anchors: int, channels: int, depth: int) -> Subnet:
    """Build the box subnet: four deltas for every anchor."""
    return Subnet(in_channels, num_anchors=num_anchors, num_outputs=4, channels=channels, depth=depth)


def _check_prior(prior: float) -> None:
    if not 0 < prior < 1:
        raise ValueError(f"model.prior must lie between 0 and 1, got {prior}")
