"""Time and memory of annotations: first parse, opening from the cache, what a loader process adds, samples a second.

    python benchmarks/annotations.py                     # 100,000 images / 700,000 boxes, five minutes
    python benchmarks/annotations.py --images 1700000 --boxes 25000000 --skip "json,torchvision,no annotations" --save

The second has Objects365's size and takes some fifteen minutes and 5 GB of disk below ``--folder``, all of which is
removed at the end. The file is made up: 365 classes, boxes anywhere, no outlines, written as it is made. Every row is
measured in a fresh process. The memory of loader processes is the proportional set size (PSS) of all processes
together, in which a page that n of them share counts 1/n for each; torchvision.datasets.CocoDetection stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CLASSES = 365
PICTURES = 200  # JPEG files that all images take turns in naming
WORKERS = (0, 2, 4)
BATCH_SIZE = 64


def write_annotations(path: Path, images: int, boxes: int) -> None:
    """Write a COCO file of ``images`` and ``boxes``, 100,000 records at a time."""
    generator = np.random.default_rng(0)
    with path.open("w", encoding="ascii") as file:
        file.write('{"info": {}, "images": [')
        for first in range(0, images, 100_000):
            rows = (
                f'{{"id": {i}, "file_name": "{i % PICTURES:06d}.jpg", "height": 96, "width": 128}}'
                for i in range(first, min(images, first + 100_000))
            )
            file.write(", " * (first > 0) + ", ".join(rows))
        file.write('], "annotations": [')
        for first in range(0, boxes, 100_000):
            count = min(boxes - first, 100_000)
            corners = generator.uniform(0, [80, 60], (count, 2)).round(2)
            sides = generator.uniform(1, 36, (count, 2)).round(2)
            owner = np.arange(first, first + count) * images // boxes
            columns = (owner, generator.integers(1, CLASSES + 1, count), *corners.T, *sides.T)
            rows = (
                f'{{"id": {first + number}, "image_id": {image}, "category_id": {label}, "iscrowd": 0, '
                f'"bbox": [{x}, {y}, {width}, {height}], "area": {width * height:.3f}}}'
                for number, (image, label, x, y, width, height) in enumerate(zip(*(c.tolist() for c in columns)))  # noqa: B905
            )
            file.write(", " * (first > 0) + ", ".join(rows))
        classes = ", ".join(f'{{"id": {number}, "name": "class {number}"}}' for number in range(1, CLASSES + 1))
        file.write(f'], "categories": [{classes}]}}')


def write_pictures(folder: Path) -> None:
    """Write the JPEG files of 96 x 128 pixels that the annotations name."""
    import cv2

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        rough = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), cv2.resize(rough, (128, 96), interpolation=cv2.INTER_CUBIC))


def parse_with_json(file: Path, **_: Any) -> dict[str, Any]:
    """Measure ``json.load``, which is how CocoDetection begins."""
    start = time.perf_counter()
    with file.open(encoding="utf-8") as text:
        content = json.load(text)
    return {"seconds": time.perf_counter() - start, "peak MiB": _peak(), "boxes": len(content["annotations"])}


def parse_and_cache(file: Path, **_: Any) -> dict[str, Any]:
    """Measure the first opening, which parses, checks and writes the cache."""
    from retina.data.cache import open_annotations

    before, start = _peak(), time.perf_counter()
    annotations = open_annotations(file)
    seconds = time.perf_counter() - start
    files = Path(annotations.cache).iterdir() if annotations.cache else ()  # small files get none
    size = sum(path.stat().st_size for path in files) / 2**20
    return {"seconds": seconds, "peak MiB": _peak() - before, "cache MiB": size, "boxes": len(annotations.boxes)}


def parse_only(file: Path, **_: Any) -> dict[str, Any]:
    """Measure the streaming parse alone: columns and checks of the single records."""
    from retina.data.coco.file import read_coco

    before, start = _peak(), time.perf_counter()
    content = read_coco(file)[0]
    return {"seconds": time.perf_counter() - start, "peak MiB": _peak() - before, "boxes": len(content.boxes)}  # type: ignore[union-attr]


def open_from_cache(file: Path, **_: Any) -> dict[str, Any]:
    """Measure opening what was cached, and every hundredth image's targets."""
    from retina.data.dataset import DetectionDataset

    before, start = _peak(), time.perf_counter()
    dataset = DetectionDataset(None, file, name="made up", split="train")
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    for index in range(0, len(dataset), 100):
        dataset.targets(index)
    each = (time.perf_counter() - start) / (len(dataset) / 100)
    return {"seconds": seconds, "peak MiB": _peak() - before, "targets us": 1e6 * each, "boxes": len(dataset.boxes)}


class Ours:
    """What a loader process does: boxes and labels of an image, with or without its pixels."""

    def __init__(self, file: Path, pixels: bool) -> None:
        from retina.data.dataset import DetectionDataset

        self.dataset, self.pixels = DetectionDataset(file.parent / "pictures", file, name="a", split="train"), pixels

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> int:
        if self.pixels:
            return len(self.dataset.sample(index).targets.boxes)
        return len(self.dataset.targets(index).boxes) + 0 * len(self.dataset.file_names[index])


class Torchvision:
    """The same of torchvision.datasets.CocoDetection."""

    def __init__(self, file: Path, pixels: bool) -> None:
        from torchvision.datasets import CocoDetection

        self.dataset, self.pixels = CocoDetection(str(file.parent / "pictures"), str(file)), pixels

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> int:
        if self.pixels:
            image, target = self.dataset[index]
            return len(target) + 0 * np.asarray(image).size
        image_id = self.dataset.ids[index]
        return len(self.dataset._load_target(image_id)) + 0 * len(self.dataset.coco.loadImgs(image_id)[0]["file_name"])


class Nothing:
    """No annotations: what a loader process takes for itself."""

    def __init__(self, file: Path, pixels: bool) -> None:
        import cv2  # noqa: F401
        import torchvision  # noqa: F401

        import retina.data.dataset  # noqa: F401

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> int:
        return 0


SETS: dict[str, type] = {"ours": Ours, "torchvision": Torchvision, "no annotations": Nothing}


def load(file: Path, *, who: str, workers: int, start: str, pixels: bool, **_: Any) -> dict[str, Any]:
    """Measure the memory of all processes after 300,000 samples of annotations, or the speed of samples with pixels."""
    from torch.utils.data import DataLoader

    dataset = SETS[who](file, pixels)
    epochs = 1 if pixels else 3
    order = [
        index for epoch in range(epochs) for index in random.Random(epoch).sample(range(len(dataset)), len(dataset))
    ]
    order = order[: 20_000 if pixels else 300_000]
    context = start if workers else None
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, sampler=order, num_workers=workers,
                        multiprocessing_context=context, collate_fn=sum)  # fmt: skip
    batches = iter(loader)
    warm = 8 * max(1, workers)
    total = sum(islice(batches, warm))
    begin, memory, kept = time.perf_counter(), 0.0, len(order) - 2 * BATCH_SIZE * (warm + 4 * workers)
    for number, count in enumerate(batches):
        total += count
        if number == kept // BATCH_SIZE:  # near the end, while every process still lives
            memory = sum(_proportional(process) for process in (os.getpid(), *_children()))
    seconds = time.perf_counter() - begin
    return {"all MiB": memory, "images/s": (len(order) - warm * BATCH_SIZE) / seconds, "boxes": total}


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {
    "json.load": parse_with_json,
    "first parse and cache": parse_and_cache,
    "first parse": parse_only,
    "open from cache": open_from_cache,
    "load": load,
}


def _peak() -> float:
    """Return how much memory the process has had at most, in MiB."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) / 1024 if match else float("nan")


def _proportional(process: int) -> float:
    match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) / 1024 if match else float("nan")


def _children() -> Iterator[int]:
    import multiprocessing

    return (child.pid for child in multiprocessing.active_children() if child.pid)


def _run(name: str, file: Path, **options: Any) -> dict[str, Any]:
    """Return what ``name`` measures in a fresh process."""
    request = json.dumps({"name": name, "file": str(file), **options})
    done = subprocess.run([sys.executable, __file__, "--child", request], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def _answer(request: dict[str, Any]) -> None:
    options = dict(request)
    name, file = options.pop("name"), Path(options.pop("file"))
    print(json.dumps(CHILDREN[name](file, **options)))


def _measure_opening(file: Path, skip_json: bool) -> Iterator[dict[str, Any]]:
    size = file.stat().st_size / 2**20
    for name in ("json.load", "first parse", "first parse and cache", "open from cache", "open from cache"):
        if not (skip_json and name == "json.load"):
            yield {"what": name, "file MiB": size, **_run(name, file)}


def _measure_workers(file: Path, skip: Set[str]) -> Iterator[dict[str, Any]]:
    for start in ("fork", "spawn"):
        for who in [who for who in SETS if who not in skip]:
            alone = None
            for workers in WORKERS:
                found = _run("load", file, who=who, workers=workers, start=start, pixels=False)
                alone = found["all MiB"] if workers == 0 else alone
                each = (found["all MiB"] - alone) / workers if workers else None
                shown = {"annotations/s": found["images/s"]} if who != "no annotations" else {}
                row = {"what": f"{who}, {start}", "workers": workers, "all MiB": found["all MiB"], **shown}
                yield row if each is None else {**row, "MiB a worker": each}
    for who in [who for who in ("ours", "torchvision") if who not in skip]:
        for workers in WORKERS:
            found = _run("load", file, who=who, workers=workers, start="fork", pixels=True)
            yield {"what": f"{who}, with pixels", "workers": workers, "images/s": found["images/s"]}


def main() -> int:
    """Make the file, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--boxes", type=int, default=700_000)
    parser.add_argument("--folder", type=Path, help="where there is room; a temporary folder otherwise")
    parser.add_argument("--skip", default="", help="of json, torchvision, no annotations, workers, with commas between")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _answer(options.child)
        return 0
    from retina.benchmark.measure import report

    skip, rows = set(options.skip.split(",")), []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "instances.json"
        write_annotations(file, options.images, options.boxes)
        write_pictures(Path(folder) / "pictures")
        time.sleep(2.5)  # a file younger than two seconds is not trusted by its time
        measured = [
            _measure_opening(file, "json" in skip),
            *([] if "workers" in skip else [_measure_workers(file, skip)]),
        ]
        for rows_of in measured:
            for row in rows_of:
                rows.append(row)
                print(row, flush=True)
    size = f"{options.images:,} images, {options.boxes:,} boxes, {CLASSES} classes"
    notes = [
        f"{size}; peak: what is added to the peak of the process before (json.load: the whole peak).",
        "open from cache: the peak is mapped pages of every hundredth image, which all processes share.",
        "all MiB: proportional set size of all processes after 300,000 samples; MiB a worker: what each adds to it.",
        "no annotations: what a process takes for itself; one that is spawned imports torch anew.",
    ]
    report(f"annotations-{options.boxes // 1_000_000}m" if options.boxes >= 10**6 else "annotations", rows, notes=notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
