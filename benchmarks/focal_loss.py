"""Time and memory of the focal loss, forward and backward, for two images of 800 x 1333 and 80 classes.

    python benchmarks/focal_loss.py --save

The peer is ``torchvision.ops.sigmoid_focal_loss`` on a dense target, made for each call as torchvision's
``RetinaNetClassificationHead.compute_loss`` makes it. Memory is what the process holds above rest at its peak: for
every contestant it includes the gradient of the logits, which the table also tells by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.benchmark.measure import alternate, peak_memory, report
from retina.detection.losses.classification import FocalLoss
from retina.structures import AnchorTargets

NUM_POSITIVES = 200
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
CONTESTANTS = ("fast", "plain", "torchvision")


def make_case(num_anchors: int, num_classes: int, dtype: str) -> tuple[Tensor, AnchorTargets]:
    """Return logits of a network in training and targets with 200 positive anchors."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(num_anchors, num_classes, generator=generator) * 1.5 - 4.6).to(DTYPES[dtype])
    order = torch.randperm(num_anchors, generator=generator)
    positive, ignored = order[:NUM_POSITIVES].sort().values, order[NUM_POSITIVES : 3 * NUM_POSITIVES].sort().values
    labels = torch.randint(num_classes, (NUM_POSITIVES,), generator=generator)
    boxes = torch.zeros(NUM_POSITIVES, 4)
    return logits.requires_grad_(), AnchorTargets(positive, labels, boxes, boxes, ignored)


def torchvisions_loss(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Return the sum as torchvision's head computes it: a dense target, and only the anchors that count."""
    dense = torch.zeros_like(logits)
    dense[targets.positive_index, targets.positive_labels] = 1.0
    valid = torch.ones(len(logits), dtype=torch.bool).index_fill(0, targets.ignored_index, False)
    return sigmoid_focal_loss(logits[valid], dense[valid], reduction="sum")


def make_step(contestant: str, num_anchors: int, num_classes: int, dtype: str) -> Callable[[], float]:
    """Return a function that goes forward and backward and returns the loss."""
    logits, targets = make_case(num_anchors, num_classes, dtype)
    loss = torchvisions_loss if contestant == "torchvision" else FocalLoss(implementation=contestant)  # type: ignore

    def step() -> float:
        logits.grad = None
        value = loss(logits, targets)
        value.backward()
        logits.grad = None  # its memory is rest otherwise
        return value.item()

    return step


def measure(dtype: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Return one row a contestant."""
    shape = (options.anchors, options.classes, dtype)
    steps = {name: make_step(name, *shape) for name in CONTESTANTS}
    logits, targets = make_case(*shape)
    exact = FocalLoss(implementation="plain")(logits.detach().double(), targets).item()
    errors = {name: abs(step() / exact - 1) for name, step in steps.items()}
    timings = alternate(steps, repeats=options.repeats, warmup=1)
    peer = timings["torchvision"].median
    return [
        {
            "logits": dtype,
            "loss": name,
            "ms": 1000 * timing.median,
            "slowest / fastest": timing.spread,
            "times faster": peer / timing.median,
            "peak MiB": peak_memory(make_step, name, *shape),
            "of it gradient": logits.nbytes / 2**20,
            "relative error": errors[name],
        }
        for name, timing in timings.items()
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anchors", type=int, default=380_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtypes", nargs="+", choices=sorted(DTYPES), default=list(DTYPES))
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = [row for dtype in options.dtypes for row in measure(dtype, options)]
    notes = [
        f"forward and backward, {options.anchors} anchors x {options.classes} classes, {NUM_POSITIVES} positive",
        "relative error of the loss, against float64",
        "log1p, softplus and binary cross-entropy run up to 18 times faster in a process that has called torch.pow on "
        "32 elements or more (torch 2.14.1, AVX512); nothing here does, and fast does not depend on it",
    ]
    report("focal-loss", rows, notes=notes)


if __name__ == "__main__":
    main()
