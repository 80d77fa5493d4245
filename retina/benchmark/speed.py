"""The table of ``tools/benchmark.py``: variants of one network beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from retina.benchmark.flops import count_flops
from retina.benchmark.measure import Timing, alternate

Work = Literal["train", "detect"]

# Switches that detection has too.
_OF_BOTH = ("model.box_tower", "train.channels_last")


@dataclass(frozen=True)
class Variant:
    """One row: what is done, in which precision, and which settings differ from the configured ones."""

    work: Work
    precision: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # setting by its path

    @property
    def label(self) -> str:
        """Return the name of the row."""
        changes = "".join(f" {path}={str(value).lower()}" for path, value in self.changes.items())
        return self.work + changes


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
    """Return a row for each of ``workloads``; those of one kind are timed in turn.

    Args:
        peaks: FLOP/s that a convolution reaches, by precision.
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
