"""Train torchvision's RetinaNet for some minutes on a folder in COCO's format, and score it with the same evaluator.

    python benchmarks/torchvision_for_minutes.py --root data/shapes/v1-71637077 --minutes 5
    python benchmarks/torchvision_for_minutes.py --root data/shapes/v1-71637077 --minutes 5 --backbone resnet18 --adamw

The peer is torchvision as it ships: its model, matcher, losses, transform and post-processing; random weights, batch
norm, horizontal flip. Without options the backbone is the ResNet-50 of ``retinanet_resnet50_fpn`` and the optimizer the
SGD of torchvision's reference script (0.01 for 16 images, momentum 0.9, weight decay 1e-4), with warm-up and the drops
at two thirds and eight ninths of the time. ``--backbone resnet18 --adamw`` gives it the backbone, optimizer, warm-up
and clipping of our small recipe, which is kinder to it; its deeper towers want a lower ``--lr``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.boxes import xyxy_to_xywh
from retina.data.dataset import DetectionDataset
from retina.evaluation.coco_metrics import METRIC_NAMES, coco_metrics

WARMUP_STEPS = 150


def build_model(backbone: str, num_classes: int, side: int) -> RetinaNet:
    """Return torchvision's RetinaNet of random weights, every stage trained."""
    body = getattr(resnet, backbone)(weights=None, norm_layer=nn.BatchNorm2d)
    features = _resnet_fpn_extractor(
        body, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(body.fc.in_features, 256)
    )
    return RetinaNet(features, num_classes, min_size=side, max_size=side * 4 // 3)


def train(model: RetinaNet, dataset: DetectionDataset, options: argparse.Namespace) -> int:
    """Train until the time is over and return the number of steps."""
    generator = np.random.default_rng(0)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    base = options.lr or (1e-3 if options.adamw else 0.01 * options.batch_size / 16)
    if options.adamw:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(parameters, lr=base, weight_decay=0.05)
    else:
        optimizer = torch.optim.SGD(parameters, lr=base, momentum=0.9, weight_decay=1e-4)
    start, steps, order = time.monotonic(), 0, []
    model.train()
    while (done := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        drops = 0.5 * (1 + math.cos(math.pi * done)) if options.adamw else 0.1 ** ((done > 2 / 3) + (done > 8 / 9))
        for group in optimizer.param_groups:
            group["lr"] = base * min(1.0, (steps + 1) / WARMUP_STEPS) * drops
        while len(order) < options.batch_size:
            order += generator.permutation(len(dataset)).tolist()
        batch = [flipped(dataset, order.pop(), generator) for _ in range(options.batch_size)]
        images, targets = zip(*batch, strict=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            losses = model(list(images), list(targets))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if options.adamw:
            nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        steps += 1
    return steps


def flipped(dataset: DetectionDataset, index: int, generator: np.random.Generator) -> tuple[torch.Tensor, dict]:
    """Return image and target as torchvision wants them, mirrored half of the time."""
    sample = dataset.sample(index)
    image = torch.from_numpy(sample.image).permute(2, 0, 1).float() / 255
    boxes = sample.targets.boxes.clone()
    if generator.random() < 0.5:
        image = image.flip(-1)
        boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    return image, {"boxes": boxes, "labels": sample.targets.labels}


@torch.inference_mode()
def evaluate(model: RetinaNet, dataset: DetectionDataset) -> dict:
    """Return the COCO numbers."""
    model.eval()
    results = []
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        (found,) = model([torch.from_numpy(sample.image).permute(2, 0, 1).float() / 255])
        boxes = xyxy_to_xywh(found["boxes"]).tolist()
        for box, score, label in zip(boxes, found["scores"].tolist(), found["labels"].tolist(), strict=True):
            results.append(
                {
                    "image_id": sample.image_id,
                    "category_id": dataset.category_ids[label],
                    "bbox": box,
                    "score": score,
                }
            )
    return coco_metrics(dataset.ground_truth(), results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--adamw", action="store_true")
    parser.add_argument("--lr", type=float, help="default 0.001 with --adamw, else 0.01 for 16 images")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    splits = {
        split: DetectionDataset(
            options.root / f"{split}2017",
            options.root / "annotations" / f"instances_{split}2017.json",
            name=options.root.name,
            split=split,
        )
        for split in ("train", "val")
    }
    model = build_model(options.backbone, splits["train"].num_classes, options.side)
    steps = train(model, splits["train"], options)
    metrics = evaluate(model, splits["val"])
    print(json.dumps({"steps": steps, **{name: metrics[name] for name in METRIC_NAMES}}))


if __name__ == "__main__":
    main()
