"""Augmentation under albumentations' interface, with randomness that is a function of seed, epoch and image.

Augmentations that mix images (retina/data/transforms/mixing.py) come first; transforms of one image follow, ours
(crops, colour as one matrix) and any other of albumentations; one resize by the field's rule ends it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Protocol

import numpy as np
import torch

from retina.data.images import Shrink
from retina.data.samplers import SampleKey
from retina.data.transforms.resize import CROWD, LABEL, InputSized, Resize, flatten, max_zoom, resize_scale
from retina.data.transforms.scene import Mixing, Others, Scene
from retina.errors import ConfigError
from retina.ranges import FILLED
from retina.structures import BoxTargets, Sample

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A  # noqa: E402

# Smaller sides are what is left of a box that a transform moved out of the image.
MIN_SIDE = 0.1  # px
# Mixing draws from a stream of its own, so that transforms of one image draw the same with and without it.
_SINGLE, _MIXING = 0, 1


class Images(Protocol):
    """Where an augmentation reads its image and, where it mixes, further ones."""

    def __len__(self) -> int: ...

    def sample(self, index: int, shrink: Shrink | None = None) -> Sample:
        """Return image ``index``, decoded as many times smaller as ``shrink`` says."""


class Augment:
    """Read an image, mix others into it, apply transforms, and resize once at the end.

    The transforms share generators seeded by ``(seed, epoch, index)``. (``Compose``'s own seeding gives each
    transform a generator of the same seed, so that two transforms of p=0.5 always fire together.)
    """

    def __init__(
        self,
        transforms: Sequence[Any],
        *,
        short_side: Annotated[int, FILLED],
        long_side: Annotated[int, FILLED],
        seed: Annotated[int, FILLED],
        reduced_decoding: Annotated[bool, FILLED] = False,
    ) -> None:
        """Args: ``transforms``, mixing ones first, then albumentations' or ours in order; sides as in :class:`Resize`.

        Raises:
            ConfigError: something in ``transforms`` is no transform, or mixes images after one that does not.
        """
        _check_transforms(transforms)
        self.mixing = [transform for transform in transforms if isinstance(transform, Mixing)]
        self.seed, self.short_side, self.long_side = seed, short_side, long_side
        self.max_zoom = max_zoom(transforms) if reduced_decoding else float("inf")
        boxes = A.BboxParams("pascal_voc", min_width=MIN_SIDE, min_height=MIN_SIDE, clip=True)
        self.pipeline = A.Compose([*transforms[len(self.mixing) :], Resize()], bbox_params=boxes)
        self._sized = [part for part in flatten(self.pipeline.transforms) if isinstance(part, InputSized)]

    def shrink(self, height: int, width: int, *, size: tuple[int, int] | None = None) -> int:
        """Return how many times smaller (1, 2, 4, 8) a stored image may be decoded so that nothing has to be enlarged.

        1 where a transform might count pixels of the stored image, as a crop of 512 x 512 does. ``size``: short and
        long side of the network's input; None: those of the configuration.
        """
        short_side, long_side = size or (self.short_side, self.long_side)
        scale = resize_scale(height, width, short_side=short_side, long_side=long_side) * self.max_zoom
        return next((denominator for denominator in (8, 4, 2) if scale * denominator <= 1), 1)

    def __call__(self, key: SampleKey, images: Images) -> Sample:
        """Return image ``key.index`` of ``images`` as it looks in epoch ``key.epoch``: a function of seed and key.

        Raises what reading an image and :meth:`transform` raise.
        """
        size = key.size or (self.short_side, self.long_side)
        shrink = partial(self.shrink, size=size)
        sample = images.sample(key.index, shrink)
        if self.mixing:
            rng = self._generator(key, _MIXING)
            others = Others(key.index, len(images), lambda index: images.sample(index, shrink), rng)
            for mix in self.mixing:
                if rng.random() < mix.p:
                    sample = mix(sample, Scene(others, rng, *size))
        return self.transform(sample, key)

    def transform(self, sample: Sample, key: SampleKey) -> Sample:
        """Return ``sample`` after the transforms of one image and the resize; boxes without visible area are dropped.

        ConfigError where a transform makes no image of uint8.
        """
        generator = self._generator(key, _SINGLE)
        self.pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        for part in self._sized:
            part.short_side, part.long_side = key.size or (self.short_side, self.long_side)
        result = self.pipeline(image=sample.image, bboxes=_to_rows(sample.targets, *sample.image.shape[:2]))
        image = result["image"]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ConfigError(
                f"augment.transforms made an image of {image.dtype} with shape {image.shape} "
                f"from image {sample.image_id}",
                why="images stay (H, W, 3) uint8 until the device, where the model normalises them",
                fix="take transforms such as Normalize, ToFloat or ToTensorV2 out of augment.transforms",
            )
        return replace(sample, image=np.ascontiguousarray(image), targets=_from_rows(result["bboxes"]))

    def resize(self, sample: Sample) -> Sample:
        """Return ``sample`` after the resize alone, as evaluation sees it."""
        plain = Augment([], short_side=self.short_side, long_side=self.long_side, seed=0)
        return plain.transform(sample, SampleKey(0, 0))

    def _generator(self, key: SampleKey, stream: int) -> np.random.Generator:
        # The first stream of an image's first copy is keyed by three numbers alone, as runs before there were others.
        further = [stream, key.copy] if stream or key.copy else []
        return np.random.default_rng([self.seed, key.epoch, key.index, *further])


class AugmentUntil:
    """One augmentation before an epoch and another from it on: strong first, gentle at the end of a run."""

    def __init__(self, first: Augment, then: Augment, *, epoch: int) -> None:
        """Args: ``epoch``, counted from 0, is the first one in which ``then`` is applied."""
        self.first, self.then, self.epoch = first, then, epoch
        self.seed = then.seed

    def of(self, epoch: int) -> Augment:
        """Return the augmentation of ``epoch``."""
        return self.first if epoch < self.epoch else self.then

    def __call__(self, key: SampleKey, images: Images) -> Sample:
        return self.of(key.epoch)(key, images)


def _to_rows(targets: BoxTargets, height: int, width: int) -> np.ndarray:
    """Return ``(n + c, 6)`` rows as albumentations wants them, without what has no width or height in its numbers.

    It computes with float32 shares of the sides: a sliver that a cut has left may be empty there, and is refused.
    """
    num_boxes = len(targets.boxes)
    rows = np.zeros((num_boxes + len(targets.crowd_boxes), 6), dtype=np.float64)
    rows[:num_boxes, :4] = targets.boxes.numpy()
    rows[:num_boxes, LABEL] = targets.labels.numpy()
    rows[num_boxes:, :4] = targets.crowd_boxes.numpy()
    rows[num_boxes:, CROWD] = 1
    shares = (rows[:, :4] / (width, height, width, height)).astype(np.float32).clip(0, 1)
    return rows[(shares[:, 2:] > shares[:, :2]).all(axis=1)]


def _from_rows(rows: np.ndarray) -> BoxTargets:
    if len(rows) == 0:  # albumentations drops the further columns, too
        return BoxTargets.empty()
    rows = np.asarray(rows)
    boxes, crowd = rows[:, :4].astype(np.float32), rows[:, CROWD] > 0
    labels = rows[~crowd, LABEL].astype(np.int64)
    return BoxTargets(torch.from_numpy(boxes[~crowd]), torch.from_numpy(labels), torch.from_numpy(boxes[crowd]))


def _check_transforms(transforms: Sequence[Any]) -> None:
    mixing_is_over = False
    for position, transform in enumerate(transforms):
        place = f"augment.transforms[{position}]"
        if not isinstance(transform, Mixing | A.BasicTransform | A.BaseCompose):
            raise ConfigError(
                f"{place} is no transform of albumentations but {transform!r}",
                fix="give transforms with _target_: albumentations.<name>, or one of docs/augmentation.md",
            )
        if mixing_is_over and isinstance(transform, Mixing):
            raise ConfigError(
                f"{place}, {type(transform).__name__}, stands after a transform of one image",
                why="images are mixed first; what stands before them in the list would be applied after them",
                fix="move it to the beginning of augment.transforms",
            )
        mixing_is_over = not isinstance(transform, Mixing)
