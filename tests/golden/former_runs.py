"""Runs that an earlier version of the code wrote and left half way, in ``runs/``: a user's runs have to stay usable.

Each has ``config.yaml`` and ``checkpoints/last.pt`` as the code wrote them, the checkpoint packed with xz. The
backbone is frozen and holds one repeated pattern (``write_weights``), which packs into some kilobytes. The heads were
trained long enough to detect something.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tests.golden import curves
from tests.golden.commands import HERE, metrics_of, must_work, write_golden
from tests.golden.curves import LOGGED, numbers, write_weights

RUNS = HERE / "runs"
STEPS, MORE_STEPS = 160, 4
COMMON = (
    "image.short_side=96", "image.long_side=128", "train.epochs=null", f"train.max_steps={STEPS}", "train.batch_size=4",
    "train.workers=0", "train.precision=float32", "train.device=cpu", "model.weights=resnet18.pth",
    "model.backbone.frozen_stages=5", "model.fpn_channels=8", "model.tower_channels=8", "model.tower_depth=1",
    "model.p6_from=p5", "schedule.warmup=160", "postprocess.score_threshold=0.02",
    "checkpoint.every=0", "eval.every=0", "eval.num_pictures=0",
    "log.every=1", "run_dir=run",
)  # fmt: skip
SHAPES = (
    "dataset=shapes", "dataset.root=shapes", "dataset.num_train_images=24", "dataset.num_val_images=6",
    "dataset.image_size=128",
)  # fmt: skip
CELLS = (
    "dataset=custom", "dataset.root=cells", "dataset.train.images=train", "dataset.train.annotations=train.json",
    "dataset.val.images=val", "dataset.val.annotations=val.json",
)  # fmt: skip
LIST = (
    "augment.transforms=[{_target_:retina.data.mixing.Mosaic,scale:[0.4,1.0],p:0.5},"
    "{_target_:retina.data.mixing.MixUp,p:0.3},"
    "{_target_:albumentations.GaussNoise,p:0.3},{_target_:albumentations.HorizontalFlip,p:0.5},"
    "{_target_:retina.data.augment.ColorMatrix,brightness:0.2,p:0.8}]"
)
TYPED: dict[str, tuple[str, ...]] = {
    "shapes": SHAPES,
    "cells": (*CELLS, "recipe=bccd"),
    "sum_of_losses": (
        *SHAPES, "loss/box=sum", "loss.box.focal_gamma=1.5", "loss.box.terms.giou.weight=0.4", "optimizer=sgd",
        "+loss.box.terms.iou={_target_:retina.detection.losses.box_overlap.IoULoss,logarithm:false,weight:0.5}",
        "train.ema_decay=null", "optimizer.lr_batch_size=null",
    ),
    "list_of_transforms": (
        *SHAPES, "augment=strong", "augment.until=null", LIST, "train.ema_decay=null", "loss/box=l1", "train.seed=2",
    ),
}  # fmt: skip

FORMER_COMMANDS = {
    "losses": (
        "loss.box._target_=retina.detection.losses.box.GIoULoss", "loss.box.focal_gamma=2.0",
        "dataset._target_=retina.data.shapes.ShapesFolder", "optimizer=sgd",
    ),
    "transforms": (
        "augment._target_=retina.data.augment.Augment", "loss/box=sum", "loss.box.focal_gamma=1.0",
        "augment.transforms=[{_target_:retina.data.mixing.Mosaic,p:0.5},"
        "{_target_:retina.data.augment.ColorMatrix,brightness:0.5,p:1.0},{_target_:albumentations.VerticalFlip,p:0.5}]",
        "model._target_=retina.models.retinanet.build_retinanet",
        "optimizer._target_=retina.training.optimizers.build_sgd",
        "~optimizer.betas", "schedule._target_=retina.training.schedules.Cosine",
    ),
}  # fmt: skip


def draw_cells(root: Path) -> None:
    """Draw 20 PNGs of 128 x 96 pixels with bright discs of two sizes, and their COCO files."""
    for split, count, seed in (("train", 16, 1), ("val", 4, 2)):
        (root / split).mkdir(parents=True)
        draws = np.random.default_rng(seed)
        images, annotations = [], []
        for image in range(1, count + 1):
            pixels = np.full((96, 128, 3), (200, 205, 215), np.uint8)
            for _ in range(3):
                kind = int(draws.integers(2))
                radius = (9, 16)[kind]
                x, y = int(draws.integers(radius, 128 - radius)), int(draws.integers(radius, 96 - radius))
                pixels[(np.arange(96)[:, None] - y) ** 2 + (np.arange(128) - x) ** 2 <= radius**2] = (
                    (60, 40, 160), (150, 60, 40))[kind]  # fmt: skip
                box = [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
                annotations.append({
                    "id": len(annotations) + 1, "image_id": image, "category_id": (2, 5)[kind], "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                })  # fmt: skip
            cv2.imwrite(str(root / split / f"{image}.png"), pixels)
            images.append({"id": image, "file_name": f"{image}.png", "width": 128, "height": 96})
        categories = [{"id": 2, "name": "small"}, {"id": 5, "name": "large"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


def unpack(name: str, folder: Path) -> Path:
    """Return a run directory in ``folder`` as the earlier version left it."""
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(RUNS / name / "config.yaml", run)
    shutil.copy(RUNS / name / "checkpoints" / "last.pt.sha256", run / "checkpoints")
    packed = (RUNS / name / "checkpoints" / "last.pt.xz").read_bytes()
    (run / "checkpoints" / "last.pt").write_bytes(lzma.decompress(packed))
    return run


def train_former_command(name: str, folder: Path) -> dict[str, list[float]]:
    """Train two steps of a command of the earlier version; what they logged."""
    must_work("train.py", *curves.COMMON, "train.max_steps=2", "model.norm=gn", "train.ema_decay=null",
              *FORMER_COMMANDS[name], "run_dir=run", folder=folder)  # fmt: skip
    return numbers(folder / "run")


def evaluated(folder: Path) -> dict[str, Any]:
    """Evaluate the run in ``folder``, on its data set in another place; its metrics and first detections."""
    must_work("evaluate.py", "ckpt=run", "dataset.root=elsewhere", "workers=0", "device=cpu", "precision=float32",
              "run_dir=scored", folder=folder)  # fmt: skip
    (written,) = (folder / "scored").rglob("metrics.json")
    metrics, detections = (
        json.loads(written.with_name(f"{part}.json").read_text(encoding="utf-8")) for part in ("metrics", "detections")
    )
    return {"metrics": metrics, "num_detections": len(detections), "detections": detections[:20]}


def resumed(folder: Path) -> dict[str, Any]:
    """Resume the run in ``folder`` for some steps; what these logged, and the digest of the final tensors."""
    must_work(
        "train.py", "resume=run", "dataset.root=elsewhere", f"train.max_steps={STEPS + MORE_STEPS}", folder=folder
    )
    lines = [line for line in metrics_of(folder / "run") if line["step"] > STEPS]
    logged = {name: [line[name] for line in lines if name in line] for name in LOGGED}
    model = torch.load(folder / "run" / "checkpoints" / "last.pt", weights_only=True)["model"]
    digest = hashlib.sha256()
    for name, value in sorted(model.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return {"numbers": logged, "sha256": digest.hexdigest()}


def make() -> None:
    """Train the runs, pack them into ``runs/`` and write ``runs.json``."""
    golden: dict[str, Any] = {}
    for name, typed in TYPED.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_weights(folder / "resnet18.pth")
            draw_cells(folder / "cells")
            must_work("train.py", *typed, *COMMON, folder=folder)
            packed = RUNS / name
            shutil.rmtree(packed, ignore_errors=True)
            (packed / "checkpoints").mkdir(parents=True)
            shutil.copy(folder / "run" / "config.yaml", packed)
            shutil.copy(folder / "run" / "checkpoints" / "last.pt.sha256", packed / "checkpoints")
            content = (folder / "run" / "checkpoints" / "last.pt").read_bytes()
            filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 24}]
            (packed / "checkpoints" / "last.pt.xz").write_bytes(lzma.compress(content, filters=filters))
        golden[name] = again(name)
    golden["commands"] = {}
    for name in FORMER_COMMANDS:
        with tempfile.TemporaryDirectory() as place:
            golden["commands"][name] = train_former_command(name, Path(place))
    write_golden("runs.json", golden)


def again(name: str) -> dict[str, Any]:
    """Evaluate and resume a packed run in an empty folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        unpack(name, folder)
        if name == "cells":
            draw_cells(folder / "elsewhere")
        return {"evaluated": evaluated(folder), "resumed": resumed(folder)}
