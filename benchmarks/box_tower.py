"""The box subnet where boxes are asked for, beside the whole one: forward and backward, or forward alone.

    python benchmarks/box_tower.py                        # 7, 20 and 60 objects an image, float32 and bf16
    python benchmarks/box_tower.py --boxes 7 --precision float32 --repeats 9 --save

One image of 800 x 1056, a pyramid of 256 channels, four convolutions and the last one, the positive anchors of random
objects. Outputs and gradients are compared before they are timed. `cell cost` is the time of the listed cells over
their number, beside that of the whole maps: the constant in `retina/models/lazy_tower/subnet.py`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.benchmark.measure import alternate, peak_memory, report
from retina.benchmark.synthetic import synthetic_targets
from retina.detection.assign import Assigner
from retina.machine import Machine
from retina.models.heads import Subnet
from retina.models.lazy_tower.plan import plan_tower
from retina.models.lazy_tower.subnet import lazy_outputs

CANVAS, CHANNELS, DEPTH = (800, 1056), 256, 4
LAZY, WHOLE = "where asked for", "whole"


def build(contestant: str, boxes: int, precision: str, backward: bool) -> Callable[[], list[Tensor]]:
    """Return the function that is timed; it returns outputs and gradients."""
    torch.manual_seed(0)
    assigner = Assigner()
    wanted = assigner(CANVAS, synthetic_targets(1, CANVAS, num_boxes=boxes, num_classes=1)).positive_index
    subnet = Subnet(CHANNELS, num_anchors=assigner.anchors.num_per_cell, num_outputs=4, channels=CHANNELS, depth=DEPTH)
    subnet = subnet.to(memory_format=torch.channels_last)
    levels = [
        torch.randn(1, CHANNELS, *grid).to(memory_format=torch.channels_last).requires_grad_(backward)
        for grid in assigner.anchors.grid_sizes(CANVAS)
    ]
    compute = lazy_outputs if contestant == LAZY else whole_outputs

    def run() -> list[Tensor]:
        with Machine(torch.device("cpu"), precision).autocast(), torch.set_grad_enabled(backward):
            outputs = compute(subnet, levels, wanted)
        if not backward:
            return [outputs]
        gradients = torch.autograd.grad(outputs.float().square().sum(), [levels[0], *subnet.parameters()])
        return [outputs.detach(), *gradients]

    return run


def whole_outputs(subnet: Subnet, levels: list[Tensor], wanted: Tensor) -> Tensor:
    """Return the wanted rows of all outputs."""
    return subnet(levels).flatten(0, 1).index_select(0, wanted)


def share_of_cells(boxes: int) -> float:
    """Return the listed cells of all layers as a share of all cells."""
    assigner = Assigner()
    grids = assigner.anchors.grid_sizes(CANVAS)
    targets = assigner(CANVAS, synthetic_targets(1, CANVAS, num_boxes=boxes, num_classes=1))
    plan = plan_tower(
        targets.positive_index, grids, batch_size=1, anchors_per_cell=9, num_layers=DEPTH + 1, break_even=0.0
    )
    listed = sum(len(layer.neighbours) for layer in plan.layers)
    return listed / ((DEPTH + 1) * sum(rows * columns for rows, columns in grids))


def check_same(ours: list[Tensor], whole: list[Tensor], precision: str) -> None:
    """Fail where outputs or gradients differ beyond rounding; a ReLU at its kink may pass a gradient or not."""
    bound = 1e-3 if precision == "float32" else 5e-2
    for one, other in zip(ours, whole, strict=True):
        if (one - other).norm() > bound * other.norm():
            raise SystemExit(f"differs by {(one - other).norm() / other.norm():.1e}")


def rows_of(boxes: int, precision: str, backward: bool, options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure one case and return a row for each contestant."""
    contestants = {name: build(name, boxes, precision, backward) for name in (LAZY, WHOLE)}
    check_same(contestants[LAZY](), contestants[WHOLE](), precision)
    timings = alternate(contestants, repeats=options.repeats)
    share = share_of_cells(boxes)
    rows = []
    for name, timing in timings.items():
        ratio = timing.median / timings[LAZY].median
        memory = None if options.no_memory else peak_memory(partial(build, name, boxes, precision, backward))
        rows.append(
            {
                "objects": boxes,
                "precision": precision,
                "pass": "forward + backward" if backward else "forward",
                "boxes": name,
                "cells": share if name == LAZY else 1.0,
                "ms": 1000 * timing.median,
                "spread": timing.spread,
                "time / ours": ratio,
                "cell cost": timing.median / timings[WHOLE].median / share if name == LAZY else 1.0,
                "MiB": memory,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[7, 20, 60], help="objects an image")
    parser.add_argument("--precision", choices=["float32", "bf16"], nargs="+", default=["float32", "bf16"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = itertools.product(options.boxes, options.precision, (True, False))
    rows = [row for boxes, precision, backward in cases for row in rows_of(boxes, precision, backward, options)]
    report("box-tower", rows, notes=["One image of 800 x 1056, 256 channels; medians, contestants alternating."])


if __name__ == "__main__":
    main()
