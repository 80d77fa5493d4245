"""A data set in COCO's format: images in a folder, objects in one annotation file."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from retina.data.annotations import read_annotations
from retina.data.images import EXIF_POLICIES, image_path, read_shrunk
from retina.data.jpeg import Shrink
from retina.errors import ConfigError, DataError
from retina.structures import BoxTargets, Sample


class DetectionDataset:
    """Images with boxes, parsed once into flat arrays that loader processes share.

    The objects of image ``i`` are ``offsets[i]:offsets[i + 1]`` of ``boxes``, ``labels``, ``areas`` and ``crowd``.
    """

    def __init__(
        self,
        images: str | Path | None,
        annotations: str | Path,
        *,
        name: str,
        split: str,
        exif: str = "ignore",
    ) -> None:
        """Parse ``annotations``.

        Args:
            images: the folder of the images; None where only the annotations are wanted.
            annotations: the annotation file.
            name: the data set's name, for messages and folders.
            split: ``train``, ``val`` or ``test``, for messages and folders.
            exif: ``ignore`` (pixels as stored) or ``apply`` (turned as the camera noted); the boxes must belong to it.

        Raises:
            DataError: the folder or the file cannot be used.
        """
        if exif not in EXIF_POLICIES:
            raise ConfigError(f"dataset.exif must be one of {', '.join(EXIF_POLICIES)}, got {exif!r}")
        self.name, self.split, self.exif = name, split, exif
        self.annotations_file = Path(annotations)
        self.images_root = None if images is None else Path(images)
        self._resolved_root = None if images is None else self._resolve(Path(images))
        arrays = read_annotations(self.annotations_file)
        self.category_ids, self.class_names = arrays.category_ids, arrays.class_names
        self.image_ids, self.file_names, self.sizes = arrays.image_ids, arrays.file_names, arrays.sizes
        self.boxes, self.labels, self.areas = arrays.boxes, arrays.labels, arrays.areas
        self.crowd, self.offsets = arrays.crowd, arrays.offsets
        self.notes = list(arrays.notes)
        self.fingerprint = arrays.fingerprint  # sha256 of the annotation file, hexadecimal
        self._training_boxes = arrays.training_boxes
        if self.images_root is not None:
            self.image_file(0)  # a wrong folder is told now, not when the first batch is loaded

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Return K."""
        return len(self.class_names)

    @cached_property
    def num_objects(self) -> int:
        """Return the number of boxes that are not crowds."""
        return int((~self.crowd).sum())

    def image_file(self, index: int) -> Path:
        """Return the file of image ``index``; DataError where it is missing or not allowed."""
        if self._resolved_root is None:
            raise ValueError(f"data set {self.name!r} was opened without a folder of images")
        return Path(image_path(self._resolved_root, self.file_names[index], self._place(index)))

    def sample(self, index: int, shrink: Shrink | None = None) -> Sample:
        """Return image ``index`` with its boxes, clipped to the image; crowds apart.

        Args:
            index: which image.
            shrink: says how many times smaller a JPEG may be decoded, its boxes with it; None: as stored.

        Raises:
            DataError: the image is missing, cannot be decoded or has another size than the annotation file says.
        """
        if self._resolved_root is None:
            raise ValueError(f"data set {self.name!r} was opened without a folder of images")
        place = self._place(index)
        path = image_path(self._resolved_root, self.file_names[index], place)
        image, stored = read_shrunk(path, place, exif=self.exif, shrink=shrink)
        height, width = (int(side) for side in self.sizes[index])
        if stored != (height, width):
            raise self._size_error(index, path, stored)
        targets = _resized(self.targets(index), stored, image.shape)
        return Sample(image, targets, image_id=int(self.image_ids[index]), original_size=(height, width))

    def targets(self, index: int) -> BoxTargets:
        """Return the ground truth of image ``index`` in pixels of the stored image."""
        objects = slice(self.offsets[index], self.offsets[index + 1])
        crowd = torch.from_numpy(self.crowd[objects])
        # Indexing by a mask copies, so a sample can be changed without changing the data set.
        boxes = torch.from_numpy(self._training_boxes[objects])
        labels = torch.from_numpy(self.labels[objects])
        return BoxTargets(boxes[~crowd], labels[~crowd], boxes[crowd])

    def ground_truth(self) -> dict[str, Any]:
        """Return the data set in COCO's format with the file's own numbers, for evaluators.

        Annotation ids are renumbered from 1: pycocotools takes a match with annotation 0 for no match.
        """
        image_of_object = self.image_ids.repeat(self.offsets[1:] - self.offsets[:-1]).tolist()
        columns = zip(
            image_of_object,
            self.labels.tolist(),
            self.boxes.tolist(),
            self.areas.tolist(),
            self.crowd.tolist(),
            strict=True,
        )
        annotations = [
            {
                "id": number,
                "image_id": image_id,
                "category_id": self.category_ids[label],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, (image_id, label, box, area, crowd) in enumerate(columns, start=1)
        ]
        images = [
            {"id": image_id, "file_name": file_name, "height": height, "width": width}
            for image_id, file_name, (height, width) in zip(
                self.image_ids.tolist(), self.file_names, self.sizes.tolist(), strict=True
            )
        ]
        categories = [
            {"id": category_id, "name": name}
            for category_id, name in zip(self.category_ids, self.class_names, strict=True)
        ]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def _resolve(self, images: Path) -> str:
        if not images.is_dir():
            raise DataError(
                f"the folder of {self.split} images of {self.name!r} does not exist: {images}",
                fix="put the images there, or name the folder that holds them",
            )
        return os.path.realpath(images)

    def _place(self, index: int) -> str:
        return f"image {self.image_ids[index]} {self.file_names[index]!r}"

    def _size_error(self, index: int, path: str, shape: tuple[int, ...]) -> DataError:
        stored = (shape[0], shape[1])
        said = (int(self.sizes[index, 0]), int(self.sizes[index, 1]))
        if said == stored[::-1] and self.exif == "ignore":
            fix = "if the boxes were drawn on the turned picture, set dataset.exif=apply"
        else:
            fix = "give the images that were annotated, or correct height and width together with the boxes"
        return DataError(
            f"{self._place(index)} has {stored[1]} x {stored[0]} pixels, "
            f"but {said[1]} x {said[0]} in {self.annotations_file}: {path}",
            why="the boxes are in pixels of an image of another size",
            fix=fix,
        )


def _resized(targets: BoxTargets, size: tuple[int, int], shape: tuple[int, ...]) -> BoxTargets:
    """Return ``targets`` of an image of ``size`` on pixels of ``shape``; sides apart, since each was rounded."""
    if shape[:2] == size:
        return targets
    scale = torch.tensor([shape[1] / size[1], shape[0] / size[0]] * 2, dtype=torch.float64)
    boxes, crowd_boxes = ((part * scale).float() for part in (targets.boxes, targets.crowd_boxes))
    return BoxTargets(boxes, targets.labels, crowd_boxes)
