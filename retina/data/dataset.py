"""A data set: images in a folder, their objects in flat arrays; or a share of it, drawn once."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from retina.data import remote
from retina.data.annotations import Annotations, refuse_errors
from retina.data.cache import open_annotations
from retina.data.findings import Findings, note
from retina.data.images import Shrink, image_path, read_shrunk
from retina.data.samplers import epoch_order
from retina.errors import DataError
from retina.ranges import Count, ShareAbove0, checked
from retina.structures import BoxTargets, Sample

NUM_FIRST_IMAGES = 5  # where all of them are missing, the folder is taken for the wrong one


@checked
class DetectionDataset:
    """Images with boxes, parsed once into flat arrays that loader processes share.

    The objects of image ``i`` are ``offsets[i]:offsets[i + 1]`` of ``boxes``, ``labels``, ``areas`` and ``crowd``.
    """

    def __init__(
        self,
        images: str | Path | None,
        annotations: str | Path | Annotations,
        *,
        name: str,
        split: str,
        exif: Literal["ignore", "apply"] = "ignore",
        on_bad_box: Literal["clip", "drop", "error"] = "clip",
        on_bad_image: Literal["skip", "error"] = "skip",
        check_folder: bool = True,
    ) -> None:
        """Open ``annotations``; a file is parsed once and mapped from its cache from then on.

        Args:
            images: the folder of the images, or an address such as ``s3://bucket/train2017``; None where only the
                annotations are wanted.
            annotations: a COCO annotation file, or annotations of any format that were read already.
            name: the data set's name, for messages and folders, as ``split`` (``train``, ``val`` or ``test``).
            exif: ``ignore`` (pixels as stored) or ``apply`` (turned as the camera noted); the boxes must belong to it.
            on_bad_box: see :func:`build_annotations`; of a file only.
            on_bad_image: what training does where :meth:`sample` raises.
            check_folder: raise where none of the first images is in the folder.

        Raises:
            DataError: the folder or the file cannot be used; the annotations have findings that are errors.
        """
        self.name, self.split, self.exif, self.on_bad_image = name, split, exif, on_bad_image
        self.images_root = Path(images) if images is not None and not remote.is_remote(images) else images
        self._resolved_root = None if images is None else self._resolve(images)
        if not isinstance(annotations, Annotations):
            annotations = open_annotations(annotations, on_bad_box=on_bad_box)
        refuse_errors(annotations.findings)
        self._attach(annotations)
        if self.images_root is not None and check_folder:
            self._check_folder()  # a wrong folder is told now, not when the first batch is loaded

    def _attach(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.annotations_file = Path(annotations.source)
        self.fingerprint, self.findings = annotations.fingerprint, annotations.findings
        self.category_ids, self.class_names = annotations.category_ids, annotations.class_names
        self.image_ids, self.file_names = annotations.image_ids, annotations.file_names
        self.sizes, self.offsets, self.boxes = annotations.sizes, annotations.offsets, annotations.boxes
        self.labels, self.areas, self.crowd = annotations.labels, annotations.areas, annotations.crowd
        self.num_classes, self.num_objects = len(self.class_names), int((~self.crowd).sum())

    def __getstate__(self) -> dict[str, Any]:
        # The arrays go with the annotations, which are mapped again where they have a cache.
        arrays = {field.name for field in fields(Annotations)}
        return {name: value for name, value in vars(self).items() if name not in arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach(self.annotations)

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def notes(self) -> list[str]:
        return list(map(str, self.findings))

    def image_file(self, index: int) -> Path:
        """Return the file of image ``index`` on disk; DataError where it is missing or not allowed."""
        return Path(self.image_path(index))

    def image_path(self, index: int) -> str:
        """Return the path of image ``index``, or its address; DataError where it is missing on disk or not allowed."""
        if self._resolved_root is None:
            raise ValueError(f"data set {self.name!r} was opened without a folder of images")
        where = remote.join if remote.is_remote(self._resolved_root) else image_path
        return where(self._resolved_root, self.file_names[index], self._place(index))

    def sample(self, index: int, shrink: Shrink | None = None) -> Sample:
        """Return image ``index`` with its boxes, clipped to the image; crowds apart.

        ``shrink`` says how many times smaller a JPEG may be decoded, its boxes with it; None: as stored.

        Raises:
            DataError: the image is missing, cannot be decoded or has another size than the annotation file says.
        """
        path, place = self.image_path(index), self._place(index)
        image, stored = read_shrunk(path, place, exif=self.exif, shrink=shrink)
        height, width = (int(side) for side in self.sizes[index])
        if stored != (height, width):
            raise self._size_error(index, path, stored)
        targets = self.targets(index)
        if image.shape[:2] != stored:  # sides apart, since each was rounded
            scale = torch.tensor([image.shape[1] / width, image.shape[0] / height] * 2, dtype=torch.float64)
            boxes, crowd_boxes = ((part * scale).float() for part in (targets.boxes, targets.crowd_boxes))
            targets = BoxTargets(boxes, targets.labels, crowd_boxes)
        return Sample(image, targets, image_id=int(self.image_ids[index]), original_size=(height, width))

    def targets(self, index: int) -> BoxTargets:
        """Return the ground truth of image ``index`` in pixels of the stored image."""
        objects = slice(self.offsets[index], self.offsets[index + 1])
        boxes, crowd = self.annotations.training_boxes[objects], self.crowd[objects]
        # Indexing by a mask copies: a sample can be changed without changing the data set, which may be mapped.
        parts = boxes[~crowd], self.labels[objects][~crowd], boxes[crowd]
        return BoxTargets(*map(torch.from_numpy, parts))

    def ground_truth(self) -> dict[str, Any]:
        """Return the data set in COCO's format with the file's own numbers, for evaluators.

        Annotation ids are renumbered from 1: pycocotools takes a match with annotation 0 for no match.
        """
        owners = self.image_ids.repeat(np.diff(self.offsets)).tolist()
        crowd = map(int, self.crowd)
        rows = zip(owners, self.labels.tolist(), self.boxes.tolist(), self.areas.tolist(), crowd, strict=True)
        keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
        annotations = [
            dict(zip(keys, (number, image_id, self.category_ids[label], *rest), strict=True))
            for number, (image_id, label, *rest) in enumerate(rows, start=1)
        ]
        sizes = zip(self.image_ids.tolist(), self.file_names, self.sizes.tolist(), strict=True)
        images = [{"id": i, "file_name": name, "height": size[0], "width": size[1]} for i, name, size in sizes]
        categories = [{"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def _check_folder(self) -> None:
        """Raise the first image's error where none of the first images is there; a single one is met later."""
        errors = []
        for index in range(min(len(self), NUM_FIRST_IMAGES)):
            try:
                path = self.image_path(index)
            except DataError as error:
                errors.append(error)
                continue
            if not remote.is_remote(path) or remote.exists(path):
                return
            errors.append(
                DataError(
                    f"{self._place(index)} does not exist: {path}",
                    why="the annotation file lists it",
                    fix=f"give the address that holds it as dataset.root or dataset.{self.split}.images",
                )
            )
        raise errors[0]

    def _resolve(self, images: str | Path) -> str:
        if remote.is_remote(images):
            return str(images)
        if not os.path.isdir(images):
            raise DataError(
                f"the folder of {self.split} images of {self.name!r} does not exist: {images}",
                fix="put the images there, or name the folder that holds them",
            )
        return os.path.realpath(images)

    def _place(self, index: int) -> str:
        return self.annotations.image_place(index).text

    def _size_error(self, index: int, path: str, stored: tuple[int, int]) -> DataError:
        height, width = self.sizes[index].tolist()
        fix = "give the images that were annotated, or correct height and width together with the boxes"
        if (width, height) == stored and self.exif == "ignore":
            fix = "if the boxes were drawn on the turned picture, set dataset.exif=apply"
        return DataError(
            f"{self._place(index)} has {stored[1]} x {stored[0]} pixels, "
            f"but {width} x {height} in {self.annotations_file}: {path}",
            why="the boxes are in pixels of an image of another size",
            fix=fix,
        )


@checked
def subset(dataset: DetectionDataset, fraction: ShareAbove0, *, seed: Count = 0) -> DetectionDataset:
    """Return ``dataset`` with a random share of its images, in their order, and at least one.

    Of one seed, a smaller share is part of a larger one. How many images are left out stands among the findings, and
    the fingerprint tells the share.
    """
    count = max(1, round(fraction * len(dataset)))
    if count == len(dataset):
        return dataset
    chosen = np.sort(epoch_order(len(dataset), seed=seed, epoch=0)[:count])
    outcome = f"left out by dataset.fraction={fraction:g} (fraction_seed={seed})"
    findings = Findings(dataset.annotations.source)
    findings.add(note("fraction", "image{s}", outcome=outcome), count=len(dataset) - count)
    findings.extend(dataset.findings)
    fingerprint = hashlib.sha256(dataset.fingerprint.encode() + chosen.tobytes()).hexdigest()
    annotations = dataset.annotations.take(chosen, findings=findings.all(), fingerprint=fingerprint)
    share = copy.copy(dataset)
    share._attach(annotations)
    return share
