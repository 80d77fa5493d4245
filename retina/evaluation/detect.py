"""From a batch of images to its detections, boxes computed only where a score asks for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

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
