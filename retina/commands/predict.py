"""Detections on image files without annotations: drawn pictures and a results file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from retina.data.augment import Augment
from retina.data.images import read_image, read_shrunk
from retina.detection.postprocess import PostProcess
from retina.drawing.boxes import draw_boxes, strong
from retina.errors import ConfigError, DataError, first_five
from retina.evaluation.detect import AnchorTiling, Size, detect
from retina.evaluation.evaluate import evaluation_mode, to_coco_results, to_original_frame
from retina.evaluation.results import write_json
from retina.structures import BoxTargets, Detections, ImageBatch, Sample

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Predictor:
    """A trained detector with all that leads from a picture to detections in its frame."""

    model: nn.Module
    augment: Augment  # the resize of evaluation
    anchors: AnchorTiling
    postprocess: PostProcess
    class_names: Sequence[str]
    category_ids: Sequence[int]
    device: torch.device
    autocast: Callable[[], AbstractContextManager] = nullcontext
    size_divisor: int = 32

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, *, original_size: Size | None = None) -> Detections:
        """Return what is found in ``image`` (``(H, W, 3)`` uint8 RGB), best first.

        Args:
            image: as stored, or decoded at a reduced scale.
            original_size: (height, width) of the stored image, in whose pixels the boxes are; None: of ``image``.
        """
        original_size = original_size or (image.shape[0], image.shape[1])
        sample = self.augment.resize(Sample(image, BoxTargets.empty(), image_id=0, original_size=original_size))
        height, width = sample.image.shape[:2]
        batch = ImageBatch(self._canvas(sample.image), torch.tensor([[height, width]])).to(self.device)
        with evaluation_mode(self.model):
            (detections,), _ = detect(
                self.model, batch, anchors=self.anchors, postprocess=self.postprocess, autocast=self.autocast
            )
        return to_original_frame(detections, (height, width), original_size)

    def _canvas(self, image: np.ndarray) -> torch.Tensor:
        """Return ``(1, 3, H, W)`` uint8, padded as in training at the right and at the bottom."""
        height, width = image.shape[:2]
        padded = np.zeros((1, height + -height % self.size_divisor, width + -width % self.size_divisor, 3), np.uint8)
        padded[0, :height, :width] = image
        return torch.from_numpy(padded).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PredictionSummary:
    """What :func:`predict_images` did."""

    out: Path
    num_images: int
    num_detections: int
    failed: Sequence[str]  # what could not be read, in sentences

    def __str__(self) -> str:
        lines = [
            f"{self.num_detections} detections on {self.num_images} images: {self.out / 'detections.json'}",
            f"pictures with the boxes drawn: {self.out}",
        ]
        if self.failed:
            num_files = self.num_images + len(self.failed)
            lines.append(f"{len(self.failed)} of {num_files} files could not be read: {first_five(self.failed)}")
        return "\n".join(lines)


def check_settings(*, ckpt: str | None, score_threshold: float) -> None:
    """Raise ConfigError where a setting of the command is missing or out of range."""
    if ckpt is None:
        raise ConfigError("ckpt is not given", fix="ckpt=<a run directory or a checkpoint file>")
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score_threshold must lie in [0, 1], got {score_threshold}")


def find_images(source: str | Path | None) -> list[Path]:
    """Return the image that ``source`` is, or the images in the folder that it is, by name.

    Raises:
        ConfigError: no source, or nothing there.
        DataError: a folder without images.
    """
    if source is None:
        raise ConfigError("source is not given", fix="source=<an image or a folder of images>")
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ConfigError(f"no such file or folder: source={source}", fix="source=<an image or a folder of images>")
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(
            f"no images in the folder: source={source}",
            why=f"looked for {', '.join(SUFFIXES)}; folders inside it are not searched",
            fix="source=<a folder that holds the images themselves>",
        )
    return paths


def predict_images(
    predictor: Predictor,
    paths: Sequence[Path],
    *,
    out: str | Path,
    score_threshold: float = 0.3,
    progress: Callable[[str], None] = lambda line: None,
) -> PredictionSummary:
    """Write every image with its boxes drawn into ``out``, and all detections into ``out/detections.json``.

    The entries have COCO's keys (images are numbered from 1 in the order of ``paths``) and ``file_name`` and
    ``category_name``. ``score_threshold`` concerns the drawing only. A file that cannot be read is told and left out.

    Raises:
        ConfigError: ``out`` is the folder of the images, which would be overwritten.
        DataError: not one of the images can be read.
    """
    out = _output_folder(Path(out), paths)
    entries: list[dict[str, Any]] = []
    failed: list[str] = []
    for image_id, path in enumerate(paths, start=1):
        try:
            image = read_image(str(path), "an image")
            seen = _as_evaluated(path, image, predictor.augment)
        except DataError as error:
            failed.append(error.what)
            progress(error.what)
            continue
        detections = predictor(seen, original_size=(image.shape[0], image.shape[1]))
        entries += _named(to_coco_results(detections, image_id, predictor.category_ids), path.name, predictor)
        _write_picture(out / path.name, image, strong(detections, score_threshold), predictor.class_names)
        progress(f"{path.name}: {len(detections)} detections")
    if len(failed) == len(paths):
        raise DataError(f"none of the {len(paths)} images can be read: {first_five(failed)}")
    write_json(out / "detections.json", entries)
    return PredictionSummary(out, len(paths) - len(failed), len(entries), failed)


def _as_evaluated(path: Path, image: np.ndarray, augment: Augment) -> np.ndarray:
    """Return ``image``, or the same decoded at the reduced scale at which evaluation would."""
    if augment.shrink(image.shape[0], image.shape[1]) == 1:
        return image
    return read_shrunk(str(path), "an image", shrink=augment.shrink)[0]


def _output_folder(out: Path, paths: Sequence[Path]) -> Path:
    if any(out.resolve() == path.parent.resolve() for path in paths):
        raise ConfigError(
            f"out is the folder of the images: {out}",
            why="the drawn pictures have the names of the images and would overwrite them",
            fix="out=<another folder>",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder out={out}: {error.strerror}", fix="out=<a folder>") from error
    return out


def _named(entries: list[dict[str, Any]], file_name: str, predictor: Predictor) -> list[dict[str, Any]]:
    names = dict(zip(predictor.category_ids, predictor.class_names, strict=True))
    return [{**entry, "file_name": file_name, "category_name": names[entry["category_id"]]} for entry in entries]


def _write_picture(path: Path, image: np.ndarray, detections: Detections, class_names: Sequence[str]) -> None:
    picture = draw_boxes(image, detections.boxes, detections.labels, detections.scores, class_names=class_names)
    # A file given by name may have any suffix; OpenCV chooses the format by it.
    if path.suffix.lower() not in SUFFIXES:
        path = path.with_name(path.name + ".jpg")
    # imencode, not imwrite: imwrite cannot write every unicode name on every system.
    encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())
