"""One pass over a data set: detections in the original images' frame, and the validation loss beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from retina import distributed
from retina.data.dataset import DetectionDataset
from retina.detection.postprocess import PostProcess
from retina.errors import first_five
from retina.evaluation.coco_metrics import coco_metrics
from retina.evaluation.detect import AnchorTiling, detect, evaluation_mode, to_coco_results, to_original_frame
from retina.machine import Machine
from retina.structures import Batch, Detections


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gave."""

    metrics: dict[str, Any]  # METRIC_NAMES, per_class; with a criterion also loss and loss_<name>
    results: list[dict[str, Any]]  # COCO results format, images in the order of the data set
    detections: Mapping[int, Detections]  # by image id, in the original frame, float64 boxes


@dataclass(frozen=True)
class Evaluator:
    """Evaluate a model on a data set, over one or several ranks.

    Every rank calls it; ``loader`` gives a rank its share. The COCO numbers take minutes on large sets, so the main
    rank alone computes them: the others' ``metrics`` and ``results`` are empty, and the caller broadcasts the metrics.
    """

    loader: Iterable[Batch]
    dataset: DetectionDataset
    postprocess: PostProcess
    anchors: AnchorTiling
    machine: Machine
    criterion: nn.Module | None = None
    category_ids: Sequence[int] | None = None  # (K,) of the model's classes; None: those of the data set, in order

    def __call__(self, model: nn.Module) -> Evaluation:
        """Evaluate ``model`` and leave it in the mode it was in.

        Under several ranks give the module inside DDP: ranks may have different numbers of batches.
        """
        modules = [module for module in (model, self.criterion) if module is not None]
        with evaluation_mode(*modules), torch.inference_mode():
            share = self._predict(model)
        shares = distributed.gather_objects(share)
        # A sampler that repeats images to make the shares equal would count their detections twice.
        detections = {image_id: found for part, _ in shares for image_id, found in part.items()}
        losses = _joined_losses([sums for _, sums in shares]) if self.criterion is not None else {}
        image_ids = [int(image_id) for image_id in self.dataset.image_ids]
        if (missing := [each for each in image_ids if each not in detections]) or len(detections) > len(image_ids):
            raise ValueError(
                f"the loader gave {len(detections)} images and the data set has {len(image_ids)}; "
                f"not predicted: {first_five(missing) or 'none'}"
            )
        if not distributed.is_main():
            return Evaluation({}, [], detections)
        category_ids = self.dataset.category_ids if self.category_ids is None else self.category_ids
        results = [
            entry for image_id in image_ids for entry in to_coco_results(detections[image_id], image_id, category_ids)
        ]
        return Evaluation({**coco_metrics(self.dataset.ground_truth(), results), **losses}, results, detections)

    def _predict(self, model: nn.Module) -> tuple[dict[int, Detections], Counter[str]]:
        """Return this rank's detections by image, sums of losses and the number of positive anchors."""
        detections: dict[int, Detections] = {}
        sums: Counter[str] = Counter()
        # Batches of one canvas share their anchors; 192k of them are 3 MB.
        anchors_of = lru_cache(maxsize=16)(self.anchors)
        for batch in self.loader:
            detected, predictions = detect(
                model,
                batch.images.to(self.machine.device, non_blocking=True),
                anchors=anchors_of,
                postprocess=self.postprocess,
                autocast=self.machine.autocast,
                targets=batch.targets if self.criterion is not None else None,
            )
            if self.criterion is not None:
                targets = batch.targets.to(self.machine.device, non_blocking=True)
                losses = self.criterion(predictions, targets)
                # Post-processing waits for the device in each batch anyhow, so reading the sums costs nothing more.
                sums.update({name: float(value) for name, value in losses.items()})
                sums["positives"] += targets.num_positives
            for image_id, found, content_size, original_size in zip(
                batch.image_ids, detected, batch.images.sizes.tolist(), batch.original_sizes, strict=True
            ):
                detections[int(image_id)] = to_original_frame(found, content_size, original_size)
        return detections, sums


def _joined_losses(shares: Sequence[Counter[str]]) -> dict[str, float]:
    """Return ``loss`` and ``loss_<name>``: sums of all ranks over positive anchors of the whole data set."""
    totals: Counter[str] = Counter()
    for share in shares:
        totals.update(share)  # unlike +, keeps negative values
    positives = max(totals.pop("positives", 0), 1)
    named = {f"loss_{name}": value / positives for name, value in totals.items()}
    return {"loss": sum(named.values()), **named}
