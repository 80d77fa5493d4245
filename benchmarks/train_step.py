"""One training step: ours beside torchvision's RetinaNet, as it ships and in channels-last.

    python benchmarks/train_step.py                                       # all cases, about half an hour on 2 cores
    python benchmarks/train_step.py --shape 2x512x512 --boxes 10 --precision bf16 --repeats 3
    python benchmarks/train_step.py --plain assign,focal,box_tower        # ours with fast paths switched off

R50-FPN, 80 classes, frozen batch norm, stem and first stage frozen, the same weights, anchors, boxes, box loss (L1) and
fused SGD in all; random weights and a learning rate of 0, so every step does the same work. Ours: assignment,
normalising, forward, loss, backward, update. Torchvision: forward with its matcher and losses, backward, update; its
resizing and normalising are left out. bf16: ours runs the network under autocast, torchvision the whole call
`model(images, targets)`, as its users do. Memory is what one step adds, in a fresh process.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peer import PeerTrainStep, build_peer, peer_images, peer_targets
from retina.benchmark.measure import Timing, alternate, peak_memory, report
from retina.benchmark.steps import TrainStep, without_progress
from retina.benchmark.synthetic import synthetic_images, synthetic_targets
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.machine import Machine
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.training.optimizers import build_sgd

NUM_CLASSES, DEPTH = 80, 50
SHAPES = {"2x512x512": (2, 512, 512), "1x800x1056": (1, 800, 1056)}
OURS, SHIPPED, CHANNELS_LAST = "ours", "torchvision", "torchvision channels-last"
SHIPPED_FLOAT32 = "torchvision float32"  # beside half precision
SWITCHES = ("assign", "focal", "box_tower")


@dataclass(frozen=True)
class Case:
    """What one row is about; plain values, since another process gets it too."""

    shape: str
    boxes: int
    precision: str
    plain: tuple[str, ...] = ()

    @property
    def autocast(self) -> Callable:
        return Machine(torch.device("cpu"), self.precision).autocast


def build_ours(case: Case, anchors: AnchorGenerator) -> RetinaNet:
    """Return our network of random weights; `weights=None` would leave nothing frozen."""
    torch.manual_seed(0)
    model = build_retinanet(
        num_classes=NUM_CLASSES,
        num_anchors=anchors.num_per_cell,
        backbone=ResNet(depth=DEPTH, frozen_stages=2, norm="frozen_bn"),
        weights="imagenet",
        load_weights=False,
        **({"box_tower": "dense"} if "box_tower" in case.plain else {}),
    )
    return model.to(memory_format=torch.channels_last).train()


def build_step(contestant: str, case: Case) -> TrainStep | PeerTrainStep:
    """Return the step of one contestant."""
    anchors = AnchorGenerator()
    batch_size, *canvas = SHAPES[case.shape]
    images = synthetic_images(batch_size, (canvas[0], canvas[1]))
    objects = synthetic_targets(batch_size, (canvas[0], canvas[1]), num_boxes=case.boxes, num_classes=NUM_CLASSES)
    model = build_ours(case, anchors)
    if contestant == OURS:
        return TrainStep(
            model=model,
            criterion=Criterion(FocalLoss(**({"implementation": "plain"} if "focal" in case.plain else {})), L1Loss()),
            optimizer=without_progress(build_sgd(model, lr=1.0)),
            assigner=Assigner(anchors, assign="dense" if "assign" in case.plain else "window"),
            images=images,
            objects=objects,
            autocast=case.autocast,
        )
    if contestant == SHIPPED_FLOAT32:
        case = replace(case, precision="float32")
    memory_format = torch.channels_last if contestant == CHANNELS_LAST else torch.contiguous_format
    peer = build_peer(model, anchors, depth=DEPTH, num_classes=NUM_CLASSES).to(memory_format=memory_format)
    pixels = peer_images(model, images, memory_format)
    return PeerTrainStep(peer, without_progress(build_sgd(peer, lr=1.0)), pixels, peer_targets(objects), case.autocast)


def rows_of(case: Case, options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure one case and return a row for each contestant."""
    contestants = [OURS, SHIPPED, CHANNELS_LAST]
    if case.precision != "float32":
        contestants.append(SHIPPED_FLOAT32)
    steps = {name: build_step(name, case) for name in contestants}
    losses = {name: float(step()) for name, step in steps.items()}
    timings: dict[str, Timing] = alternate(steps, repeats=options.repeats, warmup=1)
    del steps
    memory = {name: None if options.no_memory else peak_memory(build_step, name, case) for name in contestants}
    rows = []
    for name in contestants:
        used, least = memory[name], memory[OURS]
        rows.append(
            {
                "shape": case.shape,
                "boxes": case.boxes,
                "precision": "float32" if name == SHIPPED_FLOAT32 else case.precision,
                "contestant": name + (f" without {', '.join(case.plain)}" if case.plain and name == OURS else ""),
                "seconds": timings[name].median,
                "spread": timings[name].spread,
                "time / ours": timings[name].median / timings[OURS].median,
                "MiB": used,
                "MiB / ours": used / least if used and least else None,
                "loss": losses[name],
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), nargs="+", default=list(SHAPES))
    parser.add_argument("--boxes", type=int, nargs="+", default=[10, 200], help="an image")
    parser.add_argument("--precision", choices=["float32", "bf16"], nargs="+", default=["float32", "bf16"])
    parser.add_argument("--plain", default="", help=f"fast paths to switch off: {','.join(SWITCHES)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    options = parser.parse_args()
    plain = tuple(name for name in options.plain.split(",") if name)
    if unknown := set(plain) - set(SWITCHES):
        parser.error(f"--plain takes {', '.join(SWITCHES)}, not {', '.join(sorted(unknown))}")
    torch.set_num_threads(options.threads)
    cases = itertools.product(options.shape, options.boxes, options.precision)
    rows = [row for shape, boxes, precision in cases for row in rows_of(Case(shape, boxes, precision, plain), options)]
    notes = [
        f"Median of {options.repeats} steps, contestants alternating; fused SGD in all.",
        "torchvision's loss is a mean over images of per-image means, ours over all positives: equal for one image.",
    ]
    report("train-step" + "".join(f"-no-{name}" for name in plain), rows, notes=notes)


if __name__ == "__main__":
    main()
