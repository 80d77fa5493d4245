"""From JPEG files to a batch on one core: ours beside Pillow with albumentations.

    python benchmarks/input_pipeline.py [--images FOLDER] [--repeats 7] [--save]

Each contestant makes the same batch of 8 images of 640 x 480: resized to 800 (at most 1333), mirrored at random,
colours changed at random, padded. Ours ends where a loader process ends, at uint8 pixels and assigned anchors; like
for like it ends at normalised float pixels, as the peer does. Then photos of 4000 x 3000, decoded whole and at half.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.benchmark.measure import Timing, alternate, report  # noqa: E402
from retina.data.augment import Augment  # noqa: E402
from retina.data.collate import Collate  # noqa: E402
from retina.data.dataset import DetectionDataset  # noqa: E402
from retina.data.images import read_image, read_shrunk  # noqa: E402
from retina.data.loader import AugmentedImages  # noqa: E402
from retina.data.samplers import SampleKey  # noqa: E402
from retina.data.transforms.color import ColorMatrix  # noqa: E402
from retina.detection.anchors import AnchorGenerator  # noqa: E402
from retina.detection.assign import Assigner  # noqa: E402
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import build_retinanet  # noqa: E402
from retina.structures import Batch  # noqa: E402

SHORT_SIDE, LONG_SIDE, DIVISOR = 800, 1333, 32
NUM_BOXES = 7  # an image, as COCO's mean
BATCH_SIZE = 8
STRENGTH = (0.2, 0.2, 0.2, 0.02)  # brightness, contrast, saturation, hue
COLOR_SHARE = 0.8


def main() -> None:
    """Measure and print; ``--save`` keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs instead of drawn ones")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write benchmarks/<date>-input_pipeline.md and .json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        root = Path(folder)
        small = draw_folder(root / "small", 480, 640, BATCH_SIZE) if options.images is None else options.images
        large = draw_folder(root / "large", 3000, 4000, 2)
        rows = small_rows(open_folder(small, root / "small.json"), options.repeats)
        rows += large_rows(open_folder(large, root / "large.json"), max(3, options.repeats // 2))
        rows += stage_rows(open_folder(small, root / "small.json"), options.repeats)
    report(
        "input_pipeline",
        rows,
        notes=[
            f"small: {options.images or 'drawn, 640 x 480'}; large: drawn, 4000 x 3000; drawn JPEGs have quality 90",
            f"batches of {BATCH_SIZE} (large: 2), {NUM_BOXES} boxes an image",
            "one core: torch.set_num_threads(1), cv2.setNumThreads(0)",
            "peer: Pillow, then SmallestMaxSize, LongestMaxSize, HorizontalFlip, ColorJitter, Normalize",
            "ratio: images/s over those of the peer's usual order, for photos over whole decoding",
            f"THP_MEM_ALLOC_ENABLE={os.environ.get('THP_MEM_ALLOC_ENABLE', 'not set')}: with 1, large tensors of torch"
            " get large pages, which matters for the float batch",
        ],
    )


def small_rows(dataset: DetectionDataset, repeats: int) -> list[dict[str, object]]:
    """Return images/s of ours and of the peer on images that are enlarged."""
    normalize = build_model_normalize()
    make_batch = our_batches(dataset, reduced_decoding=True)
    peer = "Pillow + albumentations, to normalised floats"
    contestants: dict[str, Callable[[], object]] = {
        "ours, to a uint8 batch with assigned anchors": make_batch,
        "ours, to normalised floats": lambda: normalize(make_batch()),
        peer: peer_batches(dataset, color_first=False),
        "the same, colour before the resize": peer_batches(dataset, color_first=True),
    }
    times = alternate(contestants, repeats=repeats)
    return [row("small", name, timing, BATCH_SIZE, times[peer]) for name, timing in times.items()]


def large_rows(dataset: DetectionDataset, repeats: int) -> list[dict[str, object]]:
    """Return images/s on photos that are made smaller, decoded whole and at half the size."""
    whole = "ours, image.reduced_decoding=false"
    contestants: dict[str, Callable[[], object]] = {
        "ours, image.reduced_decoding=true": our_batches(dataset, reduced_decoding=True),
        whole: our_batches(dataset, reduced_decoding=False),
        "Pillow + albumentations, to normalised floats": peer_batches(dataset, color_first=False),
    }
    times = alternate(contestants, repeats=repeats, warmup=1)
    return [row("large", name, timing, len(dataset), times[whole]) for name, timing in times.items()]


def stage_rows(dataset: DetectionDataset, repeats: int) -> list[dict[str, object]]:
    """Return where the time of one of our batches goes."""
    size, files = range(min(BATCH_SIZE, len(dataset))), [str(dataset.image_file(i)) for i in range(len(dataset))]
    augment = our_augment(reduced_decoding=True)
    plain = Augment([], short_side=SHORT_SIDE, long_side=LONG_SIDE, seed=0)
    samples = [dataset.sample(index, augment.shrink) for index in size]
    augmented = [augment.transform(sample, SampleKey(0, index)) for index, sample in enumerate(samples)]
    assigner, collate = Assigner(AnchorGenerator()), Collate(Assigner(AnchorGenerator()))
    batch = collate(augmented)
    normalize, canvas = build_model_normalize(), (batch.images.pixels.shape[2], batch.images.pixels.shape[3])
    counter = iter(range(10**9))
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: [read_image(files[index], "an image") for index in size],
        "decode and boxes": lambda: [dataset.sample(index, augment.shrink) for index in size],
        "OpenCV's resize alone": lambda: [
            cv2.resize(sample.image, result.image.shape[1::-1])
            for sample, result in zip(samples, augmented, strict=True)
        ],
        "resize, no other transform": lambda: [plain.resize(sample) for sample in samples],
        "flip, colour, resize": lambda: [augment.transform(sample, SampleKey(next(counter), 0)) for sample in samples],
        "pad and assign": lambda: collate(augmented),
        "assign": lambda: assigner(canvas, [sample.targets for sample in augmented]),
        "normalise": lambda: normalize(batch),
    }
    times = alternate(stages, repeats=repeats)
    return [
        {"images": "small", "what": f"stage: {name}", "ms an image": timing.median / len(samples) * 1e3}
        for name, timing in times.items()
    ]


def row(images: str, what: str, timing: Timing, num_images: int, reference: Timing) -> dict[str, object]:
    """Return one line of the table."""
    return {
        "images": images,
        "what": what,
        "ms an image": timing.median / num_images * 1e3,
        "images/s": num_images / timing.median,
        "ratio": reference.median / timing.median,
        "slowest/fastest": timing.spread,
    }


def our_augment(*, reduced_decoding: bool) -> Augment:
    """Return the augmentation ``standard``."""
    transforms = [A.HorizontalFlip(p=0.5), ColorMatrix(*STRENGTH, p=COLOR_SHARE)]
    return Augment(transforms, short_side=SHORT_SIDE, long_side=LONG_SIDE, seed=0, reduced_decoding=reduced_decoding)


def our_batches(dataset: DetectionDataset, *, reduced_decoding: bool) -> Callable[[], Batch]:
    """Return what a loader process does for a batch; each call is another epoch."""
    images = AugmentedImages(dataset, our_augment(reduced_decoding=reduced_decoding))
    collate = Collate(Assigner(AnchorGenerator()), size_divisor=DIVISOR)
    epochs = iter(range(10**9))

    def make_batch() -> Batch:
        epoch = next(epochs)
        return collate([images[SampleKey(epoch, index)] for index in range(min(BATCH_SIZE, len(dataset)))])

    return make_batch


def peer_batches(dataset: DetectionDataset, *, color_first: bool) -> Callable[[], torch.Tensor]:
    """Return the field's usual way to a padded batch of normalised floats."""
    resize = [A.SmallestMaxSize(SHORT_SIDE), A.LongestMaxSize(LONG_SIDE)]
    flip, color = A.HorizontalFlip(p=0.5), A.ColorJitter(*STRENGTH, p=COLOR_SHARE)
    transforms = [flip, color, *resize] if color_first else [*resize, flip, color]
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"])
    pipeline = A.Compose([*transforms, A.Normalize()], bbox_params=boxes)
    count = min(BATCH_SIZE, len(dataset))
    files = [dataset.image_file(index) for index in range(count)]
    targets = [dataset.targets(index) for index in range(count)]

    def make_batch() -> torch.Tensor:
        images = []
        for file, target in zip(files, targets, strict=True):
            with Image.open(file) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            result = pipeline(image=pixels, bboxes=target.boxes.numpy(), labels=target.labels.numpy())
            images.append(torch.from_numpy(result["image"]).permute(2, 0, 1))
        height, width = (max(-(-image.shape[axis] // DIVISOR) * DIVISOR for image in images) for axis in (1, 2))
        batch = torch.zeros(len(images), 3, height, width)
        for canvas, image in zip(batch, images, strict=True):
            canvas[:, : image.shape[1], : image.shape[2]] = image
        return batch

    return make_batch


def build_model_normalize() -> Callable[[Batch], torch.Tensor]:
    """Return the normalisation that the model does on its device."""
    model = build_retinanet(
        num_classes=1, num_anchors=9, backbone=ResNet(depth=18), weights=None, fpn_channels=8, tower_channels=8
    )
    return lambda batch: model.normalize(batch.images)


def open_folder(folder: Path, annotations: Path) -> DetectionDataset:
    """Return the JPEGs of ``folder`` with random boxes."""
    generator = np.random.default_rng(0)
    images: list[dict[str, object]] = []
    objects: list[dict[str, object]] = []
    for number, path in enumerate(sorted(folder.glob("*.jpg"))[:BATCH_SIZE]):
        height, width = read_shrunk(str(path), str(path))[0].shape[:2]
        images.append({"id": number, "file_name": path.name, "height": height, "width": width})
        for _ in range(NUM_BOXES):
            box_width, box_height = generator.uniform(0.05, 0.5, 2) * (width, height)
            x, y = generator.uniform(0, (width - box_width, height - box_height))
            objects.append({"id": len(objects) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                            "bbox": [x, y, box_width, box_height], "area": box_width * box_height})  # fmt: skip
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "object"}]}
    annotations.write_text(json.dumps(content), encoding="utf-8")
    return DetectionDataset(folder, annotations, name="benchmark", split="train")


def draw_folder(folder: Path, height: int, width: int, count: int) -> Path:
    """Write ``count`` JPEGs of quality 90 with structure at every scale, edges and grain, as photos have."""
    folder.mkdir()
    for number in range(count):
        image = draw_photo(np.random.default_rng(number), height, width)
        cv2.imwrite(str(folder / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder


def draw_photo(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth noise of eight scales, thirty ellipses and grain."""
    image = np.full((height, width, 3), 120, dtype=np.float32)
    for octave in range(8):
        cells = generator.normal(0, 60 / (octave + 1), (2**octave + 2, 2**octave + 2, 3)).astype(np.float32)
        image += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(30):
        center = (int(generator.integers(width)), int(generator.integers(height)))
        axes = (int(generator.integers(10, width // 3)), int(generator.integers(5, width // 6)))
        color = _color(generator.normal(120, 60, 3))
        cv2.ellipse(image, center, axes, float(generator.uniform(0, 180)), 0, 360, color, -1)
    image += generator.normal(0, 9, image.shape).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def _color(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


if __name__ == "__main__":
    main()
