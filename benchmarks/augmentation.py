"""Images a second on one core for each ready set of augmentation, from JPEG files to uint8 at the network's size.

    python benchmarks/augmentation.py [--images FOLDER] [--repeats 7] [--save]

Also each transform that draws on several images or changes their scale, alone and always applied.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from input_pipeline import draw_folder, open_folder  # noqa: E402

from retina.benchmark.measure import Timing, report  # noqa: E402
from retina.commands.building import build_node  # noqa: E402
from retina.config.compose import compose_config, group_options  # noqa: E402
from retina.data.augment import Augment  # noqa: E402
from retina.data.dataset import DetectionDataset  # noqa: E402
from retina.data.samplers import SampleKey  # noqa: E402
from retina.data.transforms.copy_paste import CopyPaste  # noqa: E402
from retina.data.transforms.crops import CenterSafeCrop, LargeScaleJitter  # noqa: E402
from retina.data.transforms.mixing import MixUp, Mosaic  # noqa: E402

SHORT_SIDE, LONG_SIDE = 800, 1333
NUM_IMAGES = 8  # a call, as many as open_folder opens
ALONE = {
    "Mosaic": Mosaic(p=1),
    "MixUp": MixUp(p=1),
    "CopyPaste": CopyPaste(p=1),
    "LargeScaleJitter": LargeScaleJitter(p=1),
    "CenterSafeCrop": CenterSafeCrop(p=1),
}


def main() -> None:
    """Measure and print; ``--save`` keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs instead of drawn ones")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write benchmarks/<date>-augmentation.md and .json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = draw_folder(root / "images", 480, 640, NUM_IMAGES) if options.images is None else options.images
        dataset = open_folder(images, root / "annotations.json")
        contestants = {f"augment={name}": reader(dataset, ready_set(name)) for name in group_options()["augment"]}
        contestants |= {f"{name}, always": reader(dataset, [transform]) for name, transform in ALONE.items()}
        times = processor_time(contestants, repeats=options.repeats)
    flip = times["augment=flip"].median
    report(
        "augmentation",
        [
            {
                "what": name,
                "ms an image": timing.median / NUM_IMAGES * 1e3,
                "images/s": NUM_IMAGES / timing.median,
                "beside flip": flip / timing.median,
                "slowest/fastest": timing.spread,
            }
            for name, timing in times.items()
        ],
        notes=[
            f"images: {options.images or 'drawn, 640 x 480, JPEG quality 90'}; {SHORT_SIDE} / {LONG_SIDE}",
            "processor time of one thread; decoding is part of it, padding is not",
            "always: with p=1, and alone",
        ],
    )


def processor_time(contestants: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, Timing]:
    """Return the processor time of each contestant, called in turn; nothing waits, so it is the time on a free core."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(1 + repeats):
        for name, function in contestants.items():
            start = time.process_time()
            function()
            seconds[name] += [time.process_time() - start] if turn else []
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ready_set(name: str) -> Sequence[Any]:
    """Return the transforms of ``configs/augment/<name>.yaml``, before the end of a run."""
    return build_node(compose_config("train", [f"augment={name}"]).config.augment.transforms)


def reader(dataset: DetectionDataset, transforms: Sequence[Any]) -> Callable[[], object]:
    """Return what reads and augments ``NUM_IMAGES`` images; each call is another epoch."""
    augment = Augment(transforms, short_side=SHORT_SIDE, long_side=LONG_SIDE, seed=0, reduced_decoding=True)
    epochs = iter(range(10**9))

    def read() -> object:
        epoch = next(epochs)
        return [augment(SampleKey(epoch, index), dataset) for index in range(NUM_IMAGES)]

    return read


if __name__ == "__main__":
    main()
