"""The table of ``tools/benchmark.py``: time and arithmetic of variants of one network, and what the machine can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from retina.benchmark.measure import Timing, alternate
from retina.machine import Machine

Work = Literal["train", "detect"]

# Switches that detection has too.
_OF_BOTH = ("model.box_tower", "train.channels_last")

# The shape of a head's convolution on P3 of an 800 px image: most of a RetinaNet's arithmetic.
_CHANNELS, _CANVAS = 256, (100, 136)
_IMAGES = {"cpu": 2, "cuda": 16}


@dataclass(frozen=True)
class Variant:
    """One row: what is done, in which precision, and which settings differ from the configured ones."""

    work: Work
    precision: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # setting by its path

    @property
    def label(self) -> str:
        return self.work + "".join(f" {path}={str(value).lower()}" for path, value in self.changes.items())


@dataclass(frozen=True)
class Workload:
    """A variant that is ready to run."""

    variant: Variant
    function: Callable[[], object]
    num_images: int  # of one call


def variants(precision: str, switches: Mapping[str, Any]) -> list[Variant]:
    """Return the rows: training and detection as configured, in float32, and with each of ``switches`` alone.

    The first of each kind of work is what the others are compared with.
    """
    precisions = dict.fromkeys([precision, "float32"])  # one where both are the same
    train = [Variant("train", name) for name in precisions]
    detect = [Variant("detect", name) for name in precisions]
    train += [Variant("train", precision, {path: value}) for path, value in switches.items()]
    detect += [Variant("detect", precision, {path: value}) for path, value in switches.items() if path in _OF_BOTH]
    return [*train, *detect]


def measure_speed(workloads: Sequence[Workload], *, repeats: int, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a row for each of ``workloads``, those of one kind timed in turn.

    ``peaks``: FLOP/s that a convolution reaches, by precision.
    """
    timings: dict[int, Timing] = {}
    for work in ("train", "detect"):
        some = {str(i): load.function for i, load in enumerate(workloads) if load.variant.work == work}
        timings |= {int(i): timing for i, timing in alternate(some, repeats=repeats).items()}
    flops = [count_flops(load.function) for load in workloads]
    rows = []
    for i, load in enumerate(workloads):
        variant, seconds = load.variant, timings[i].median
        same_work = [j for j, other in enumerate(workloads) if other.variant.work == variant.work]
        peak = peaks[variant.precision]
        rows.append(
            {
                "what": variant.label,
                "precision": variant.precision,
                "images/s": load.num_images / seconds,
                "time": seconds / timings[same_work[0]].median,
                "spread": timings[i].spread,
                "GFLOP": flops[i] / 1e9,
                "of peak": flops[i] / seconds / peak,
                # What computes everything everywhere says what the same result would have cost.
                "of peak, dense": max(flops[j] for j in same_work) / seconds / peak,
            }
        )
    return rows


def count_flops(function: Callable[[], object]) -> int:
    """Return the floating point operations of convolutions and matrix products in one call; an addition counts one.

    Norms, activations, losses and post-processing are not counted.
    """
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@torch.inference_mode()
def convolution_peak(machine: Machine, *, repeats: int = 5) -> float:
    """Return the FLOP/s of a 3x3 convolution of 256 channels, forward, channels-last: the best of ``repeats``.

    The measured ceiling of the network: no published peak of a processor is reached by a convolution.
    """
    device = machine.device
    layer = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False, device=device)
    layer = layer.to(memory_format=torch.channels_last)
    features = torch.randn(_IMAGES[device.type], _CHANNELS, *_CANVAS, device=device)
    features = features.to(memory_format=torch.channels_last)
    with machine.autocast():
        features = features.to(layer(features[:1]).dtype)  # else the conversion would be timed
        timing = alternate({"peak": lambda: layer(features)}, repeats=repeats, warmup=1)["peak"]
        flops = count_flops(lambda: layer(features))
    return flops / min(timing.seconds)
