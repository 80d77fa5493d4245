"""How much arithmetic a step is, and how much the machine can do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from retina.benchmark.measure import alternate

# The shape of a head's convolution on P3 of an 800 px image: most of a RetinaNet's arithmetic.
_CHANNELS, _CANVAS = 256, (100, 136)
_IMAGES = {"cpu": 2, "cuda": 16}


def count_flops(function: Callable[[], object]) -> int:
    """Return the floating point operations of convolutions and matrix products in one call; an addition counts one.

    Norms, activations, losses and post-processing are not counted.
    """
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@torch.inference_mode()
def convolution_peak(
    device: torch.device, autocast: Callable[[], AbstractContextManager], *, repeats: int = 5
) -> float:
    """Return the FLOP/s of a 3x3 convolution of 256 channels, forward, channels-last: the best of ``repeats``.

    The measured ceiling of the network: no published peak of a processor is reached by a convolution.
    """
    images = _IMAGES[device.type]
    layer = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False, device=device)
    layer = layer.to(memory_format=torch.channels_last)
    features = torch.randn(images, _CHANNELS, *_CANVAS, device=device).to(memory_format=torch.channels_last)
    with autocast():
        features = features.to(layer(features[:1]).dtype)  # else the conversion would be timed
        timing = alternate({"peak": lambda: layer(features)}, repeats=repeats, warmup=1)["peak"]
    return convolution_flops(images, _CHANNELS, _CANVAS) / min(timing.seconds)


def convolution_flops(images: int, channels: int, canvas: tuple[int, int]) -> int:
    """Return the operations of a 3x3 convolution that keeps its channels: a product and a sum each weight and pixel."""
    return 2 * 9 * channels**2 * images * canvas[0] * canvas[1]
