"""Loader processes: read, augment, pad and assign, ahead of the trainer."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from retina.data.augment import Augment, AugmentUntil
from retina.data.bad_images import StandIns
from retina.data.dataset import DetectionDataset
from retina.data.samplers import SampleKey
from retina.errors import OutOfMemoryError, RetinaError
from retina.structures import Batch, BoxTargets, Sample

PREFETCH_FACTOR = 4  # batches that each process makes ahead: hides an image that takes long, costs their memory


class AugmentedImages(Dataset[Sample]):
    """The images of a data set after augmentation, by key."""

    def __init__(
        self, dataset: DetectionDataset, augment: Augment | AugmentUntil, *, on_bad_image: str = "error"
    ) -> None:
        """Args: ``on_bad_image``: ``error``, or ``skip``: another image stands in, see :class:`StandIns`."""
        self.dataset, self.augment, self.on_bad_image = dataset, augment, on_bad_image

    def __getitem__(self, key: SampleKey) -> Sample:
        if self.on_bad_image == "error":
            return self.augment(key, self.dataset)
        images = StandIns(self.dataset, seed=self.augment.seed, epoch=key.epoch)
        sample = self.augment(key, images)
        return replace(sample, replaced=tuple(dict.fromkeys(images.replaced))) if images.replaced else sample


class BatchLoader(DataLoader):
    """A DataLoader of whole batches that raises a loader process's error as it was raised there.

    torch would build the error anew from one text and lose its parts; so it travels as a value.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Start the processes; a RetinaError is raised with the traceback of its process among its notes."""
        return _raise_errors(super().__iter__())


def build_train_loader(
    dataset: DetectionDataset,
    augment: Augment | AugmentUntil,
    collate: Callable[[list[Sample]], Batch],
    sampler: Sampler[list[SampleKey]],
    *,
    workers: int,
    pin_memory: bool,
    on_bad_image: str = "error",
) -> BatchLoader:
    """Return an iterable over the batches of ``sampler``, which yields the keys of one batch at a time.

    ``workers``: processes; 0 loads in the calling process. ``pin_memory``: put batches into page-locked memory, for
    copies to a GPU. ``on_bad_image``: ``error``, or ``skip``: another image stands in, and the batch says so.
    """
    return BatchLoader(
        _Batches(AugmentedImages(dataset, augment, on_bad_image=on_bad_image), collate),
        batch_sampler=sampler,
        collate_fn=_unchanged,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_prepare_process,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH_FACTOR if workers > 0 else None,
    )


# The order and the number of batches are the sampler's alone, so evaluation loads in the same way.
build_eval_loader = build_train_loader


def suggested_workers(device_type: str, num_ranks: int) -> int:
    """Return the number of loader processes a rank that suits this machine.

    Beside a GPU up to 8, one a core. On a CPU one for every 8 cores: the network itself wants the cores, and a loader
    that takes one from it for a moment makes its other threads wait.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // num_ranks) if device_type == "cuda" else cores // num_ranks // 8


def _raise_errors(batches: Iterator[Batch | RetinaError]) -> Iterator[Batch]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or "Traceback" in str(error):  # the latter: raised by a batch
                raise
            raise OutOfMemoryError(
                f"a loader process ended unexpectedly: {error}",
                why="usually the system ended it because memory or shared memory (/dev/shm) ran out",
                fix="train.workers=0, or fewer than now; in a container raise --shm-size",
            ) from error
        if isinstance(batch, RetinaError):
            try:
                raise batch
            finally:
                # The error knows this frame: were it also known here, both would keep the processes for a while.
                del batch
        yield batch


class _Batches(Dataset[Any]):
    """Batches by their keys; a mistake of the user is returned, not raised (see BatchLoader)."""

    def __init__(self, images: AugmentedImages, collate: Callable[[list[Sample]], Batch]) -> None:
        self.images, self.collate = images, collate

    def __getitems__(self, keys: list[SampleKey]) -> Batch | RetinaError:
        try:
            return self.collate([self.images[key] for key in keys])
        except RetinaError as error:
            error.add_note(traceback.format_exc())
            return error


def _unchanged(batch: Any) -> Any:
    return batch


def _prepare_process(_: int) -> None:
    # One thread each: the processes are the parallelism, and more threads would only fight for the cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C reaches every process of the terminal; the main one saves the run and then ends the loader.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _box_targets(*arrays: Any) -> BoxTargets:
    return BoxTargets(*map(torch.from_numpy, arrays))


def _reduce_box_targets(targets: BoxTargets) -> tuple[Any, ...]:
    return _box_targets, tuple(part.numpy() for part in (targets.boxes, targets.labels, targets.crowd_boxes))


# Tensors go between processes by one shared-memory file each: three small ones an image would cost more than the
# boxes themselves, and run into the limit of open files with many processes.
ForkingPickler.register(BoxTargets, _reduce_box_targets)
