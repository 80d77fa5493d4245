"""From samples to a batch: padding and assignment, in the loader's processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from retina.ranges import AtLeast1, checked
from retina.structures import AnchorTargets, Batch, BoxTargets, ImageBatch, Sample

Assign = Callable[[tuple[int, int], Sequence[BoxTargets]], AnchorTargets]


@checked
@dataclass(frozen=True)
class Collate:
    """Pad images at the right and at the bottom to one canvas and give its anchors their targets.

    The assigner is handed in: the data package knows nothing of anchors.
    """

    assigner: Assign
    size_divisor: AtLeast1 = 32  # so that every level up to stride 32 has whole cells

    def __call__(self, samples: list[Sample]) -> Batch:
        """Return the batch of ``samples`` on the smallest canvas that holds them all."""
        sizes = [sample.image.shape[:2] for sample in samples]
        heights, widths = zip(*sizes, strict=True)
        canvas = (self._round_up(max(heights)), self._round_up(max(widths)))
        pixels = np.zeros((len(samples), *canvas, 3), dtype=np.uint8)
        for row, sample, (height, width) in zip(pixels, samples, sizes, strict=True):
            row[:height, :width] = sample.image
        box_targets = [sample.targets for sample in samples]
        return Batch(
            # (B, H, W, 3) seen as (B, 3, H, W) is channels-last in memory: no copy here or on the device.
            images=ImageBatch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor(sizes)),
            targets=self.assigner(canvas, box_targets),
            image_ids=[sample.image_id for sample in samples],
            original_sizes=[sample.original_size for sample in samples],
            box_targets=box_targets,
            replaced=[reason for sample in samples for reason in sample.replaced],
        )

    def _round_up(self, side: int) -> int:
        return -(-side // self.size_divisor) * self.size_divisor
