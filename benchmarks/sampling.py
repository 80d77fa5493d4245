"""What samplings change: padded pixels by batch size, and how often images of each class come.

    python benchmarks/sampling.py annotations=<COCO annotation file> [short_side=800 long_side=1333 threshold=0.05]

Reads sizes and labels only: no image is opened, and nothing is timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.data.coco.file import read_annotations  # noqa: E402
from retina.data.samplers import EpochOrders  # noqa: E402
from retina.data.sampling import (  # noqa: E402
    AspectRatio,  # noqa: E402
    ClassBalanced,
    RepeatFactor,
    Uniform,
    class_members,
)
from retina.data.transforms.resize import resized_size  # noqa: E402

EPOCHS = 200
DIVISOR = 32  # sides of a batch are multiples of it


def main() -> None:
    """Print two tables."""
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    images = read_annotations(Path(given["annotations"]))
    sides = {name: int(given.get(name, default)) for name, default in (("short_side", 800), ("long_side", 1333))}
    sizes = np.array([resized_size(int(height), int(width), **sides) for height, width in images.sizes])
    print(f"{len(sizes)} images, {len(images.labels)} objects, resized to {sides}, {EPOCHS} epochs\n")
    print("| batch | sampling | padded pixels | pixels an image |\n|---|---|---|---|")
    for batch_size in (4, 8, 16):
        for name, orders in {
            "uniform": Uniform().orders(images),
            "aspect_ratio, boundaries [1.0]": AspectRatio((1.0,), batch_size).orders(images),
            "aspect_ratio": AspectRatio(group_size=batch_size).orders(images),
        }.items():
            share, pixels = padding(sizes, orders, batch_size)
            print(f"| {batch_size} | {name} | {share:.1%} | {pixels / 1e6:.3f} M |")
    print("\n| sampling | images an epoch | rarest quarter of the classes | most frequent class |\n|---|---|---|---|")
    threshold = float(given.get("threshold", 0.05))
    for name, orders in {
        "uniform": Uniform().orders(images),
        f"repeat_factor, threshold {threshold:g}": RepeatFactor(threshold).orders(images),
        "class_balanced": ClassBalanced().orders(images),
    }.items():
        rare, frequent = class_shares(images, orders)
        print(f"| {name} | {orders.length} | {rare:.2%} | {frequent:.2%} |")


def padding(sizes: np.ndarray, orders: EpochOrders, batch_size: int) -> tuple[float, float]:
    """Return the share of padded pixels and the pixels of the canvas that an image takes."""
    stream = np.concatenate([orders.order(0, epoch) for epoch in range(EPOCHS)])
    batches = sizes[stream[: len(stream) // batch_size * batch_size]].reshape(-1, batch_size, 2)
    canvas = (-(-batches.max(axis=1) // DIVISOR) * DIVISOR).prod(axis=1) * batch_size
    content = batches.prod(axis=2).sum()
    return 1 - content / canvas.sum(), canvas.sum() / batches.shape[0] / batch_size


def class_shares(images: object, orders: EpochOrders) -> tuple[float, float]:
    """Return the shares of the rarest quarter and of the first class among all pairs of an image and its classes."""
    labels, owners = class_members(images)  # type: ignore[arg-type]
    present, before = np.unique(labels, return_counts=True)
    comes = np.zeros(len(images.sizes))  # type: ignore[attr-defined]
    for epoch in range(EPOCHS):
        comes += np.bincount(orders.order(0, epoch), minlength=len(comes))
    pairs = np.array([comes[owners[labels == label]].sum() for label in present[np.argsort(before, kind="stable")]])
    return pairs[: len(pairs) // 4].sum() / pairs.sum(), pairs[-1] / pairs.sum()


if __name__ == "__main__":
    main()
