"""predict: detections on image files without annotations, as drawn pictures and a results file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from retina.commands.assemble import Sections
from retina.detector import Detector
from retina.errors import ConfigError, DataError, first_five
from retina.files import write_json_atomically
from retina.machine import Machine
from retina.ranges import AtLeast1, Share
from retina.settings import Device, Precision

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The scalars of configs/predict.yaml, which says what they mean."""

    ckpt: str
    source: str
    out: str
    score_threshold: Share
    batch_size: AtLeast1
    device: Device
    precision: Precision


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


def run(settings: Settings, sections: Sections) -> PredictionSummary:
    """Draw and list what the detector finds in ``settings.source``."""
    paths = find_images(settings.source)
    detector = Detector.load(settings.ckpt, machine=Machine.resolve(settings.device, settings.precision))
    summary = predict_images(
        detector, paths, out=settings.out, score_threshold=settings.score_threshold, progress=print
    )
    print(summary)
    return summary


def find_images(source: str | Path) -> list[Path]:
    """Return the image that ``source`` is, or the images in the folder that it is, by name.

    Raises:
        ConfigError: no source, or nothing there.
        DataError: a folder without images.
    """
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
    detector: Detector,
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
            found = detector(path)
        except DataError as error:
            failed.append(error.what)
            progress(error.what)
            continue
        entries += [{**entry, "file_name": path.name} for entry in found.to_coco(image_id)]
        _write_picture(out / path.name, found.draw(score_threshold))
        progress(f"{path.name}: {len(found)} detections")
    if len(failed) == len(paths):
        raise DataError(f"none of the {len(paths)} images can be read: {first_five(failed)}")
    write_json_atomically(out / "detections.json", entries)
    return PredictionSummary(out, len(paths) - len(failed), len(entries), failed)


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


def _write_picture(path: Path, picture: np.ndarray) -> None:
    # A file given by name may have any suffix; OpenCV chooses the format by it.
    if path.suffix.lower() not in SUFFIXES:
        path = path.with_name(path.name + ".jpg")
    # imencode, not imwrite: imwrite cannot write every unicode name on every system.
    encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())
