"""Time and memory of the assignment of 192k anchors: by window, from the full table, and torchvision's.

    python benchmarks/assignment.py                    # prints; with --save also writes benchmarks/<date>-assignment.*
    python benchmarks/assignment.py --boxes 10,100     # the larger numbers take 7 GB and a minute

Objects have sides of 6 to 600 px, every octave as often, anywhere on an image of 800 x 1333 pixels. Ours is the whole
call for a batch of one image, which ends in sparse targets; torchvision's is ``box_iou`` and the ``Matcher`` of its
RetinaNet on the same anchors. Its labels and targets come on top and are not counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.benchmark.measure import alternate, peak_memory, report
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.structures import BoxTargets

CANVAS = (800, 1344)
KINDS = ("window", "dense", "torchvision")


def objects(count: int) -> BoxTargets:
    """Return ``count`` objects of 8 to 400 px (log-uniform) and aspect ratios of 1/3 to 3, cut off at the image."""
    generator = torch.Generator().manual_seed(count)
    size = 8 * torch.exp(torch.rand(count, 1, generator=generator) * math.log(50))
    ratio = torch.exp((torch.rand(count, 1, generator=generator) - 0.5) * math.log(9) / 2)
    sides = torch.cat([size * ratio, size / ratio], dim=1)
    image = torch.tensor([1333.0, 800.0])
    centers = torch.rand(count, 2, generator=generator) * image
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1).clamp(min=0).minimum(image.repeat(2))
    return BoxTargets(boxes, torch.zeros(count, dtype=torch.int64), torch.zeros(0, 4))


def assignment(kind: str, count: int) -> Callable[[], object]:
    """Return the function to be measured."""
    targets = objects(count)
    if kind != "torchvision":
        return partial(Assigner(assign=kind), CANVAS, [targets])  # type: ignore[arg-type]
    generator, matcher = AnchorGenerator(), Matcher(0.5, 0.4, allow_low_quality_matches=True)
    anchors = generator(generator.grid_sizes(CANVAS))

    def match() -> Tensor:
        return matcher(box_iou(targets.boxes, anchors))

    return match


def check_equal(count: int) -> None:
    """Raise unless the three give the same positives and the same ignored anchors."""
    window, dense = (assignment(kind, count)() for kind in KINDS[:2])
    match = assignment("torchvision", count)()
    for ours in (window, dense):
        same = torch.equal(ours.positive_index, (match >= 0).nonzero().squeeze(1))  # type: ignore
        same &= torch.equal(ours.positive_boxes, objects(count).boxes[match[match >= 0]])  # type: ignore
        same &= torch.equal(ours.ignored_index, (match == Matcher.BETWEEN_THRESHOLDS).nonzero().squeeze(1))  # type: ignore
        if not same:
            raise RuntimeError(f"the assignments of {count} boxes differ")


def main() -> int:
    """Measure and report every number of boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", default="10,100,300,1000", help="numbers of boxes, with commas between")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    options = parser.parse_args()
    rows = []
    for count in (int(number) for number in options.boxes.split(",")):
        check_equal(count)
        timings = alternate({kind: assignment(kind, count) for kind in KINDS}, repeats=options.repeats, warmup=1)
        for kind in KINDS:
            rows.append(
                {
                    "boxes": count,
                    "assignment": kind,
                    "median ms": 1000 * timings[kind].median,
                    "slowest / fastest": timings[kind].spread,
                    "torchvision / this": timings["torchvision"].median / timings[kind].median,
                    "extra MiB": peak_memory(assignment, kind, count),
                }
            )
            print(rows[-1], flush=True)
    report("assignment", rows, notes=["Positive and ignored anchors and matched boxes of the three are the same."])
    return 0


if __name__ == "__main__":
    sys.exit(main())
