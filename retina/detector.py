"""A trained detector: the one way from a checkpoint to a network with all that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from retina.build import build
from retina.config.saved import model_config_from
from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.images import read_image, read_shrunk
from retina.detection.assign import Assigner
from retina.detection.postprocess import PostProcess
from retina.drawing.boxes import draw_boxes, strong
from retina.errors import CheckpointError, ConfigError, first_five
from retina.evaluation.detect import detect, evaluation_mode, to_coco_results, to_original_frame
from retina.machine import Machine
from retina.models.network import build_model
from retina.settings import ImageSettings
from retina.structures import BoxTargets, Detections, Sample
from retina.training.checkpoint import load_checkpoint, resolve_checkpoint

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = str | PathLike[str] | np.ndarray  # or an image of PIL


@dataclass(frozen=True)
class NamedDetections(Detections):
    """What was found in one image, best first, in the image's own pixels, with the names of the classes."""

    class_names: Sequence[str]  # (K,)
    category_ids: Sequence[int]  # (K,) of a COCO file
    image: np.ndarray  # (H, W, 3) uint8 RGB, as stored

    @property
    def names(self) -> list[str]:
        """``(D,)`` class names."""
        return [self.class_names[label] for label in self.labels.tolist()]

    def above(self, score: float) -> NamedDetections:
        """Return those with a score of at least ``score``."""
        keep = self.scores >= score
        others = {field.name: getattr(self, field.name) for field in fields(self)[3:]}
        return NamedDetections(self.boxes[keep], self.scores[keep], self.labels[keep], **others)

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Return entries of the COCO results format, with ``category_name`` added."""
        entries = to_coco_results(self, image_id, self.category_ids)
        return [{**entry, "category_name": name} for entry, name in zip(entries, self.names, strict=True)]

    def to_supervision(self) -> Any:
        """Return a ``supervision.Detections``.

        Raises:
            ConfigError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ConfigError("supervision is not installed", fix="pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes.numpy().astype(np.float32),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names)},
        )

    def draw(self, score: float = 0.3) -> np.ndarray:
        """Return the image as ``(H, W, 3)`` uint8 RGB with the boxes of at least ``score`` drawn."""
        found = strong(self, score)
        return draw_boxes(self.image, found.boxes, found.labels, found.scores, class_names=self.class_names)


@dataclass(frozen=True)
class Detector:
    """A network with its weights, anchors, post-processing, image size and classes."""

    model: nn.Module  # in evaluation mode, on the device of ``machine``; the averaged weights where there are such
    assigner: Assigner
    postprocess: PostProcess
    image: ImageSettings
    class_names: Sequence[str]  # (K,)
    category_ids: Sequence[int]  # (K,)
    machine: Machine
    path: Path  # of the checkpoint
    dataset: Mapping[str, Any]  # the section ``dataset`` of the training, as far as it may be built again
    config: str  # of the training, as the checkpoint carries it: data from a stranger
    statistics: Mapping[str, Any]  # what the losses had counted

    @classmethod
    def load(cls, ckpt: str | PathLike[str], *, machine: Machine | None = None) -> Detector:
        """Return the detector of a run directory (best.pt, else last.pt) or of a checkpoint file.

        Raises:
            CheckpointError: there is none, or it is damaged, of another kind, or would build what is not listed.
        """
        machine = machine or Machine.resolve("auto", "auto")
        path = resolve_checkpoint(str(ckpt))
        state = load_checkpoint(path, required_keys=("config", "class_names", "category_ids", "model", "ema"))
        names, ids = state["class_names"], state["category_ids"]
        if not (_are_all(names, str) and _are_all(ids, int) and len(names) == len(ids)):
            raise CheckpointError(
                f"the classes in the checkpoint cannot be used: {path}",
                why="class_names must be texts and category_ids as many whole numbers.",
                fix="use a checkpoint that this program wrote",
            )
        saved = model_config_from(str(state["config"]))
        assigner = build(saved["anchors"], center_heat=False)
        return cls(
            model=_load_model(saved["model"], state, assigner.anchors.num_per_cell, machine),
            assigner=assigner,
            postprocess=build(saved["postprocess"]),
            image=ImageSettings(**saved["image"]),
            class_names=names,
            category_ids=ids,
            machine=machine,
            path=path,
            dataset=saved["dataset"],
            config=str(state["config"]),
            statistics=state.get("criterion") or {},
        )

    def __call__(self, images: Picture | Image | Sequence[Picture | Image]) -> Any:
        """Return the :class:`NamedDetections` of an image, or the list of them for a list of images.

        Args:
            images: a path, ``(H, W, 3)`` uint8 RGB, an image of PIL, or a list of them.

        Raises:
            DataError: a file cannot be read.
        """
        if isinstance(images, list | tuple):
            return [self(image) for image in images]
        if isinstance(images, str | PathLike):
            stored, seen = self.read(images)
        else:
            stored = seen = images if isinstance(images, np.ndarray) else np.asarray(images.convert("RGB"))  # type: ignore[union-attr]
        (found,) = self.detect([seen], [(stored.shape[0], stored.shape[1])])
        return NamedDetections(found.boxes, found.scores, found.labels, self.class_names, self.category_ids, stored)

    def read(self, path: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return an image file as it is stored, and as evaluation reads it: a large JPEG at a reduced scale."""
        stored = read_image(str(path), "an image")
        if self.resize.shrink(stored.shape[0], stored.shape[1]) == 1:
            return stored, stored
        return stored, read_shrunk(str(path), "an image", shrink=self.resize.shrink)[0]

    @torch.inference_mode()
    def detect(self, images: Sequence[np.ndarray], original_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Return what is found in images of ``(H, W, 3)`` uint8 RGB, padded to one canvas, best first.

        Boxes are in pixels of the stored images, whose (height, width) are ``original_sizes``.
        """
        samples = [
            self.resize.resize(Sample(image, BoxTargets.empty(), image_id=0, original_size=size))
            for image, size in zip(images, original_sizes, strict=True)
        ]
        batch = Collate(self.assigner)(samples).images
        with evaluation_mode(self.model):
            found, _ = detect(
                self.model,
                batch.to(self.machine.device),
                anchors=self.assigner.anchors,
                postprocess=self.postprocess,
                autocast=self.machine.autocast,
            )
        sizes = batch.sizes.tolist()
        return [to_original_frame(*parts) for parts in zip(found, sizes, original_sizes, strict=True)]

    @cached_property
    def resize(self) -> Augment:
        """The resize of evaluation."""
        return Augment([], **self.image.one_size, seed=0)

    @property
    def owner(self) -> Path:
        """The run directory that the checkpoint belongs to, else its folder."""
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent

    def category_ids_in(self, class_names: Sequence[str], category_ids: Sequence[int], source: str) -> list[int]:
        """Return the ids that the detector's classes have in a data set with these classes, found by name.

        Raises:
            ConfigError: the data set, read from ``source``, lacks one of them.
        """
        ids = dict(zip(class_names, category_ids, strict=True))
        unknown = [name for name in self.class_names if name not in ids]
        if unknown:
            raise ConfigError(
                f"the checkpoint detects classes that {source} does not have: {first_five(unknown)}",
                why=f"the file has {first_five(class_names)}.",
                fix="evaluate on a data set with the same class names",
            )
        return [ids[name] for name in self.class_names]


def _load_model(node: Mapping[str, Any], state: Mapping[str, Any], num_anchors: int, machine: Machine) -> nn.Module:
    """Build the network of a checkpoint with its averaged weights, else its newest."""
    num_classes = len(state["class_names"])
    model = build_model(node, num_classes=num_classes, num_anchors=num_anchors, machine=machine, load_weights=False)
    try:
        model.load_state_dict(state["ema"]["model"] if state["ema"] is not None else state["model"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            "the weights in the checkpoint do not fit the network that its configuration describes",
            why=str(error).splitlines()[0],
            fix="use a checkpoint that this program wrote",
        ) from error
    return model.eval()


def _are_all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
