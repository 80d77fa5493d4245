"""One pass over a data set: detections in the original images' frame, and the validation loss beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from retina.data.dataset import DetectionDataset
from retina.detection.postprocess import PostProcess
from retina.errors import first_five
from retina.evaluation.coco_metrics import coco_metrics
from retina.evaluation.detect import AnchorTiling, detect, evaluation_mode, to_coco_results, to_original_frame
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

    Every rank calls it; ``loader`` gives a rank its share, ``gather`` returns every rank's object as a list on every
    rank. The COCO numbers take minutes on large sets, so only the main rank computes them: the others' ``metrics``
    and ``results`` are empty, and the caller broadcasts the metrics.
    """

    loader: Iterable[Batch]
    dataset: DetectionDataset
    postprocess: PostProcess
    anchors: AnchorTiling
    device: torch.device
    criterion: nn.Module | None = None
    autocast: Callable[[], AbstractContextManager] = nullcontext
    gather: Callable[[Any], list[Any]] = lambda value: [value]
    is_main: bool = True
    category_ids: Sequence[int] | None = None  # (K,) of the model's classes; None: those of the data set, in order

    def __call__(self, model: nn.Module) -> Evaluation:
        """Evaluate ``model`` and leave it in the mode it was in.

        Under several ranks give the module inside DDP: ranks may have different numbers of batches.
        """
        modules = [module for module in (model, self.criterion) if module is not None]
        with evaluation_mode(*modules), torch.inference_mode():
            share = self._predict(model)
        everything = self.gather(share)
        # A sampler that repeats images to make the shares equal would count their detections twice.
        detections = {image_id: found for part in everything for image_id, found in part.detections.items()}
        losses = _joined_losses([part.losses for part in everything]) if self.criterion is not None else {}
        image_ids = [int(image_id) for image_id in self.dataset.image_ids]
        missing = [image_id for image_id in image_ids if image_id not in detections]
        if missing or len(detections) > len(image_ids):
            raise ValueError(
                f"the loader gave {len(detections)} images and the data set has {len(image_ids)}; "
                f"not predicted: {first_five(missing) or 'none'}"
            )
        category_ids = self.category_ids if self.category_ids is not None else self.dataset.category_ids
        if not self.is_main:
            return Evaluation({}, [], detections)
        results = [
            entry for image_id in image_ids for entry in to_coco_results(detections[image_id], image_id, category_ids)
        ]
        return Evaluation({**coco_metrics(self.dataset.ground_truth(), results), **losses}, results, detections)

    def _predict(self, model: nn.Module) -> _Share:
        share = _Share()
        # Batches of one canvas share their anchors; 192k of them are 3 MB.
        anchors_of = lru_cache(maxsize=16)(self.anchors)
        for batch in self.loader:
            detected, predictions = detect(
                model,
                batch.images.to(self.device, non_blocking=True),
                anchors=anchors_of,
                postprocess=self.postprocess,
                autocast=self.autocast,
                targets=batch.targets if self.criterion is not None else None,
            )
            if self.criterion is not None:
                targets = batch.targets.to(self.device, non_blocking=True)
                share.add_losses(self.criterion(predictions, targets), targets.num_positives)
            for image_id, found, content_size, original_size in zip(
                batch.image_ids, detected, batch.images.sizes.tolist(), batch.original_sizes, strict=True
            ):
                share.detections[int(image_id)] = to_original_frame(found, content_size, original_size)
        return share


@dataclass
class _Share:
    """What one rank saw."""

    detections: dict[int, Detections] = field(default_factory=dict)
    losses: Counter[str] = field(default_factory=Counter)  # sums, and the number of positive anchors

    def add_losses(self, losses: Mapping[str, Tensor], num_positives: int) -> None:
        # Post-processing waits for the device in each batch anyhow, so reading the sums costs nothing more.
        self.losses.update({name: float(value) for name, value in losses.items()})
        self.losses["positives"] += num_positives


def _joined_losses(shares: Sequence[Counter[str]]) -> dict[str, float]:
    """Return ``loss`` and ``loss_<name>``: sums of all ranks over positive anchors of the whole data set."""
    totals: Counter[str] = Counter()
    for share in shares:
        totals.update(share)  # unlike +, keeps negative values
    positives = max(totals.pop("positives", 0), 1)
    named = {f"loss_{name}": value / positives for name, value in totals.items()}
    return {"loss": sum(named.values()), **named}
