"""What the detector will see: objects by class and size before and after the resize, and what no anchor reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.findings import Fault, Finding, Findings, Place
from retina.doctor.catalogue import (
    CLASS_IMBALANCE,
    CLASS_TINY,
    IMAGE_WITH_MANY_OBJECTS,
    OBJECT_UNDER_8_PIXELS,
    OBJECT_UNREACHED,
)

# Areas in square pixels where small ends and large begins. Source: pycocotools, Params.areaRng.
SIZE_LIMITS = (32**2, 96**2)
SIZE_NAMES = ("small", "medium", "large")
FEW = 10  # objects of a class
RARE = 100  # times fewer objects than the most frequent class
SMALL = 8.0  # pixels: the stride of the finest level, so the side is one cell
REACHED = 0.5  # IoU with the best anchor


@dataclass(frozen=True)
class Lens:
    """How the detector looks at images; handed in, since this package builds nothing."""

    resized: Callable[[int, int], tuple[int, int]]  # (height, width) -> (height, width) at the network's input
    # boxes (N, 4) in pixels of the input, (height, width) of the input -> (N,) IoU of each with its best anchor
    best_iou: Callable[[Tensor, tuple[int, int]], Tensor]
    max_detections: int
    batch_size: int


@dataclass(frozen=True)
class DetectorView:
    """Objects of one split (crowds apart) at the network's input; N objects, n images."""

    boxes: np.ndarray  # (N, 4) float32 xyxy pixels of the input
    image_of_box: np.ndarray  # (N,) position of the image
    labels: np.ndarray  # (N,)
    best_iou: np.ndarray  # (N,) float32
    original_areas: np.ndarray  # (N,) float64, as the annotations say
    sizes: np.ndarray  # (n, 2) (height, width) after the resize
    objects_of_image: np.ndarray  # (n,)
    class_names: tuple[str, ...]
    padding: float  # share of a batch that is padding, in the mean

    @property
    def sides(self) -> np.ndarray:  # (N, 2) width and height in pixels of the input
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def unreached(self) -> np.ndarray:  # (N,) whether no anchor reaches the object
        return self.best_iou < REACHED

    @property
    def shorter_side(self) -> np.ndarray:  # (N,) pixels of the input
        return self.sides.min(axis=1, initial=np.inf)

    def worst(self, fault: Fault) -> np.ndarray:
        """Return the objects with ``fault`` (OBJECT_UNREACHED or OBJECT_UNDER_8_PIXELS), the worst first."""
        value, limit = (self.best_iou, REACHED) if fault is OBJECT_UNREACHED else (self.shorter_side, SMALL)
        order = np.argsort(value, kind="stable")
        return order[value[order] < limit]

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        sides, count = self.sides, max(1, len(self.boxes))
        return {
            "objects": len(self.boxes),
            "sizes_original": sizes_table(self.original_areas),
            "sizes_network": sizes_table(sides.prod(axis=1)),
            "objects_per_image": _spread(self.objects_of_image),
            "shorter_side_network": _spread(self.shorter_side),
            "aspect_ratio": _spread(sides[:, 1] / sides[:, 0]),
            "share_under_8_pixels": float((self.shorter_side < SMALL).sum() / count),
            "share_unreached": float(self.unreached.sum() / count),
            "share_padding": self.padding,
            "classes": self.class_rows(),
        }

    def class_rows(self) -> list[dict[str, Any]]:
        """Return for each class its objects, images, size bands at the input and the share no anchor reaches."""
        areas = self.sides.prod(axis=1)
        return [
            {
                "name": name,
                "objects": len(own),
                "images": len(np.unique(self.image_of_box[own])),
                **sizes_table(areas[own]),
                "share_unreached": float(self.unreached[own].mean()) if len(own) else None,
            }
            for name, own in zip(self.class_names, _by_value(self.labels, len(self.class_names)), strict=True)
        ]


def look_through(dataset: DetectionDataset, lens: Lens) -> DetectorView:
    """Return how the objects of ``dataset`` look at the network's input; no image is opened."""
    keep = ~np.asarray(dataset.crowd)
    image_of_box = np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))[keep]
    sizes = np.array([lens.resized(int(h), int(w)) for h, w in dataset.sizes], dtype=np.int64).reshape(-1, 2)
    xywh = np.asarray(dataset.boxes)[keep]
    original = np.asarray(dataset.sizes)[image_of_box]
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    scale = (sizes[image_of_box] / original)[:, [1, 0, 1, 0]]
    boxes = (np.clip(corners, 0, original[:, [1, 0, 1, 0]]) * scale).astype(np.float32)
    return DetectorView(
        boxes=boxes,
        image_of_box=image_of_box,
        labels=np.asarray(dataset.labels)[keep],
        best_iou=_best_iou(boxes, _padded(sizes[image_of_box]), lens),
        original_areas=np.asarray(dataset.areas)[keep],
        sizes=sizes,
        objects_of_image=np.bincount(image_of_box, minlength=len(dataset)),
        class_names=tuple(dataset.class_names),
        padding=padding_share(sizes, lens.batch_size),
    )


def view_findings(
    dataset: DetectionDataset, view: DetectorView, max_detections: int, *, training: bool
) -> tuple[Finding, ...]:
    """Return what of the view deserves a word; what concerns learning only where the split is for ``training``."""

    def place(hit: int) -> Place:
        image = dataset.annotations.image_place(int(view.image_of_box[hit]))
        width, height = view.sides[hit]
        return replace(image, text=f"{view.class_names[view.labels[hit]]!r} of {width:.0f} x {height:.0f}, {image}")

    findings = Findings(dataset.annotations.source)
    objects = np.bincount(view.labels, minlength=len(view.class_names))
    most = objects.max(initial=0)
    for name, count in zip(view.class_names, objects, strict=True) if training else ():
        if 0 < count < FEW:
            findings.add(CLASS_TINY, f"{name!r} ({count})")
        elif 0 < count * RARE < most:
            findings.add(CLASS_IMBALANCE, f"{name!r} ({count} of {most})")
    for fault in (OBJECT_UNREACHED, OBJECT_UNDER_8_PIXELS):
        findings.add_each(fault, view.worst(fault), place)
    for index in np.flatnonzero(view.objects_of_image > max_detections):
        detail = f"{view.objects_of_image[index]} of {max_detections}"
        findings.add(IMAGE_WITH_MANY_OBJECTS, dataset.annotations.image_place(int(index), detail))
    return findings.all()


def sizes_table(areas: np.ndarray) -> dict[str, int]:
    """Return how many ``areas`` (square pixels) are small, medium and large in COCO's terms."""
    counts = np.bincount(np.searchsorted(SIZE_LIMITS, areas, side="right"), minlength=3)
    return dict(zip(SIZE_NAMES, counts.tolist(), strict=True))


def padding_share(sizes: np.ndarray, batch_size: int) -> float:
    """Return the share of padding in batches of ``(n, 2)`` images in random order (a fixed one), last ones dropped."""
    if not len(sizes):
        return 0.0
    order = np.random.default_rng(0).permutation(len(sizes))
    batch_size = min(batch_size, len(sizes))
    batches = sizes[order[: len(order) // batch_size * batch_size]].reshape(-1, batch_size, 2)
    canvas = _padded(batches.max(axis=1))
    return float(1 - batches.prod(axis=2).sum() / (canvas.prod(axis=1).sum() * batch_size))


def _padded(sizes: np.ndarray) -> np.ndarray:
    return -(-sizes // Collate.size_divisor) * Collate.size_divisor


def _best_iou(boxes: np.ndarray, canvas_of_box: np.ndarray, lens: Lens) -> np.ndarray:
    """Return ``(N,)`` the IoU of each box with its best anchor, asked for canvas by canvas."""
    result = np.zeros(len(boxes), dtype=np.float32)
    canvases, which = np.unique(canvas_of_box, axis=0, return_inverse=True)
    for (height, width), own in zip(canvases.tolist(), _by_value(which.ravel(), len(canvases)), strict=True):
        result[own] = lens.best_iou(torch.from_numpy(boxes[own]), (height, width)).numpy()
    return result


def _by_value(values: np.ndarray, count: int) -> list[np.ndarray]:
    """Return where each of the values 0 .. ``count`` - 1 stands."""
    ends = np.cumsum(np.bincount(values, minlength=count))
    return np.split(np.argsort(values, kind="stable"), ends)[:count]


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    names = ("least", "quarter", "median", "three_quarters", "most")
    quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()  # of a list, so that float64 interpolates
    return {**dict(zip(names, quantiles, strict=True)), "mean": float(np.mean(values))}
