"""Detecting objects in one image: ours beside torchvision's RetinaNet, whole and post-processing alone.

    python benchmarks/inference.py
    python benchmarks/inference.py --precision bf16 --repeats 3

R50-FPN, 80 classes, the same random weights and anchors. Random weights give no scores a detector would give, so the
same scores take the place of those of all networks: 0.9 to 0.05 by overlap around 7 objects, and some dozen
weak ones anywhere. What is found is checked to be the same. Torchvision's resizing and normalising are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peer import PeerDetection, build_peer, peer_images
from retina.benchmark.measure import alternate, peak_memory, report
from retina.benchmark.steps import Detection
from retina.benchmark.synthetic import synthetic_images, synthetic_scores, synthetic_targets
from retina.detection.anchors import AnchorGenerator
from retina.detection.postprocess import PostProcess
from retina.machine import Machine
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import build_retinanet
from retina.structures import Detections, Predictions

NUM_CLASSES, DEPTH, NUM_OBJECTS = 80, 50, 7
OURS, SHIPPED, CHANNELS_LAST = "ours", "torchvision", "torchvision channels-last"
CONTESTANTS = (OURS, SHIPPED, CHANNELS_LAST)
CANVAS = (800, 1056)


def build_detection(contestant: str, precision: str, canvas: tuple[int, int]) -> Detection | PeerDetection:
    """Return one contestant, ready to be called."""
    torch.manual_seed(0)
    anchors, images = AnchorGenerator(), synthetic_images(1, canvas)
    (objects,) = synthetic_targets(1, canvas, num_boxes=NUM_OBJECTS, num_classes=NUM_CLASSES)
    scores = synthetic_scores(anchors(anchors.grid_sizes(canvas)), objects, num_classes=NUM_CLASSES)
    model = build_retinanet(
        num_classes=NUM_CLASSES,
        num_anchors=anchors.num_per_cell,
        backbone=ResNet(depth=DEPTH, norm="frozen_bn"),
        weights="imagenet",
        load_weights=False,
    )
    model = model.to(memory_format=torch.channels_last).eval()
    context = Machine(torch.device("cpu"), precision).autocast
    if contestant == OURS:
        scores.take_the_place_of(model.class_subnet.predict, model.class_subnet)
        return Detection(model, PostProcess(), anchors, images, context)
    memory_format = torch.channels_last if contestant == CHANNELS_LAST else torch.contiguous_format
    peer = build_peer(model, anchors, depth=DEPTH, num_classes=NUM_CLASSES).to(memory_format=memory_format)
    head = peer.head.classification_head
    scores.take_the_place_of(head.cls_logits, head)
    return PeerDetection(peer, peer_images(model, images, memory_format), context)


def check_same(ours: Detections, theirs: dict[str, Tensor], precision: str) -> int:
    """Return the number of detections; fail where the two differ beyond rounding.

    In float32 every detection must have its twin. bf16 rounds scores to 3 digits and boxes to pixels, so there only
    the numbers of detections are compared.
    """
    whole = (theirs["boxes"][:, 2:] > theirs["boxes"][:, :2]).all(dim=1)  # torchvision keeps boxes without area
    boxes, labels = theirs["boxes"][whole], theirs["labels"][whole]
    if precision != "float32":
        if abs(len(ours) - len(boxes)) > 0.1 * len(boxes):
            raise SystemExit(f"{len(ours)} detections of ours, {len(boxes)} of torchvision's")
        return len(ours)
    apart = (ours.boxes[:, None] - boxes[None]).abs().amax(dim=-1)
    apart[ours.labels[:, None] != labels[None]] = torch.inf
    if len(ours) != len(boxes) or apart.amin(dim=1).max() > 0.05:
        raise SystemExit(f"{len(ours)} detections of ours, {len(boxes)} of torchvision's, or other boxes")
    return len(ours)


def postprocessing(
    ours: Detection, peer: TorchvisionRetinaNet
) -> dict[str, Callable[[], list[Detections] | list[dict[str, Tensor]]]]:
    """Return both post-processings of the same outputs of our network."""
    dense: Predictions = ours.predictions()
    anchors = ours.anchors(dense.grid_sizes)
    levels = [rows * columns * ours.anchors.num_per_cell for rows, columns in dense.grid_sizes]
    outputs = {
        "cls_logits": list(dense.logits.split(levels, dim=1)),
        "bbox_regression": list(dense.deltas.split(levels, dim=1)),
    }

    @torch.inference_mode()
    def run_ours() -> list[Detections]:
        return ours.postprocess(dense, anchors, ours.images.sizes)

    @torch.inference_mode()
    def run_theirs() -> list[dict[str, Tensor]]:
        with ours.autocast():  # as in the whole call; without it torchvision's suppression refuses bf16
            return peer.postprocess_detections(outputs, [list(anchors.split(levels))], [CANVAS])

    return {OURS: run_ours, SHIPPED: run_theirs}


def rows_of(precision: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure one precision and return a row for each contestant."""
    detections = {name: build_detection(name, precision, CANVAS) for name in CONTESTANTS}
    found = check_same(detections[OURS]()[0], detections[SHIPPED]()[0], precision)
    parts = postprocessing(detections[OURS], detections[SHIPPED].model)
    check_same(parts[OURS]()[0], parts[SHIPPED]()[0], precision)
    whole = alternate(detections, repeats=options.repeats, warmup=1)
    alone = alternate(parts, repeats=4 * options.repeats)
    del detections, parts
    memory = {n: None if options.no_memory else peak_memory(build_detection, n, precision, CANVAS) for n in CONTESTANTS}
    rows = []
    for part, timings in (("whole", whole), ("post-processing", alone)):
        for name, timing in timings.items():
            rows.append(
                {
                    "part": part,
                    "precision": precision,
                    "contestant": name,
                    "ms": 1000 * timing.median,
                    "spread": timing.spread,
                    "time / ours": timing.median / timings[OURS].median,
                    "MiB": memory[name] if part == "whole" else None,
                    "detections": found,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["float32", "bf16"], nargs="+", default=["float32", "bf16"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row for precision in options.precision for row in rows_of(precision, options)]
    notes = [
        f"One image of {CANVAS[0]} x {CANVAS[1]}, {NUM_OBJECTS} objects; medians, contestants alternating.",
        "Detections checked to be the same: in float32 box by box, in bf16 their number.",
    ]
    report("inference", rows, notes=notes)


if __name__ == "__main__":
    main()
