"""From a batch of images to its detections, in the original images' frame and in COCO's results format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from retina.boxes import clip_boxes, xyxy_to_xywh
from retina.detection.postprocess import Candidates, PostProcess
from retina.structures import AnchorTargets, BoxCells, Detections, ImageBatch, Predictions

Size = tuple[int, int]  # (height, width)
# Called with sequences of (rows, columns) and a device, returns (A, 4) anchors of one image.
AnchorTiling = Callable[[Sequence[Size], torch.device], Tensor]


def detect(
    model: nn.Module,
    images: ImageBatch,
    *,
    anchors: AnchorTiling,
    postprocess: PostProcess,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    targets: AnchorTargets | None = None,
) -> tuple[list[Detections], Predictions]:
    """Return the detections of each image, in pixels of the network's input, and the predictions behind them.

    The network's boxes are asked for once: at the candidates and, with ``targets``, also at the positive anchors, where
    the loss needs them.
    """
    found: list[Candidates] = []

    def choose(logits: Tensor, grid_sizes: Sequence[Size]) -> BoxCells:
        found.append(postprocess.candidates(logits, grid_sizes))
        return found[0].box_cells(targets)

    with autocast():
        predictions = model(images, box_cells=choose)
    tiled = anchors(tuple(predictions.grid_sizes), images.pixels.device)
    # A network that computes all boxes anyhow need not ask.
    return postprocess(predictions, tiled, images.sizes, *found), predictions


def to_original_frame(detections: Detections, content_size: Size, original_size: Size) -> Detections:
    """Return the detections in pixels of the original image, float64 on the host, clipped to the image.

    ``content_size`` is the image's (height, width) in the network's input, without padding; each axis has its own
    scale, since the sizes after a resize are rounded.
    """
    height, width = original_size
    scale = torch.tensor([width / content_size[1], height / content_size[0]], dtype=torch.float64)
    boxes = detections.boxes.cpu().double() * scale.repeat(2)
    return Detections(clip_boxes(boxes, height, width), detections.scores.cpu(), detections.labels.cpu())


def to_coco_results(detections: Detections, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return entries of the COCO results format: xywh boxes, full precision, label k as ``category_ids[k]``."""
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for box, score, label in zip(
            xyxy_to_xywh(detections.boxes).tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True
        )
    ]


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Switch ``modules`` to evaluation, and afterwards every part of them back to the mode it had.

    Part by part, because a frozen part of a model in training may stand in evaluation mode.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
