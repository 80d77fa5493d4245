"""Pictures of what was found: the boxes in question drawn large, pairs of images side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from retina.data.annotations import annotation_name
from retina.data.catalogue import BAD_IMAGE
from retina.data.checks.images import is_local
from retina.data.dataset import DetectionDataset
from retina.data.findings import Fault, Finding
from retina.doctor.catalogue import BOX_NEAR_DUPLICATE, OBJECT_UNDER_8_PIXELS, OBJECT_UNREACHED
from retina.doctor.duplicates import near_duplicate_boxes
from retina.doctor.examine import Examination, SplitExam
from retina.drawing.boxes import draw_boxes
from retina.drawing.sheets import shrunk
from retina.errors import RetinaError

PER_FINDING = 4
WIDTH = 440  # pixels of a picture on the page
_CONTEXT = 2.0  # sides of the boxes in question that are shown around them
_LEAST = 96  # pixels of the image that are shown at least


@dataclass(frozen=True)
class Case:
    """One picture, or two side by side, with a sentence."""

    pictures: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB
    caption: str


def cases_of(examination: Examination) -> dict[tuple[str, str], list[Case]]:
    """Return pictures for findings, by (split, name of the fault); findings without a picture are left out."""
    cases = {}
    for split, finding in examination.findings():
        if not split:
            found = list(_copies(examination, finding.fault))
        elif finding.fault not in BAD_IMAGE:
            found = list(_in_split(examination.splits[split], finding))
        else:
            found = []
        if found:
            cases[split, finding.fault.name] = found
    return cases


def gallery(exam: SplitExam, count: int) -> list[Case]:
    """Return ``count`` images with their objects, spread over the split: what one would look at first."""
    dataset = exam.dataset
    if dataset is None or not is_local(dataset):
        return []
    bad = {each.index for each in exam.images.seen if each.is_bad} if exam.images else set()
    spread = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    shown = [(index, _whole(dataset, index)) for index in dict.fromkeys(spread) if index not in bad]
    return [
        Case((picture,), str(dataset.annotations.image_place(index))) for index, picture in shown if picture is not None
    ]


def _copies(examination: Examination, fault: Fault) -> Iterator[Case]:
    """Yield the pairs of images of one fault side by side."""
    for pair in islice((pair for pair in examination.pairs if pair.fault is fault), PER_FINDING):
        pictures, names = [], []
        for image in (pair.first, pair.second):
            if (dataset := examination.splits[image.split].dataset) is not None:
                pictures.append(_whole(dataset, image.index))
                names.append(f"{image.split}: {dataset.annotations.image_place(image.index)}")
        alike = "the same content" if pair.correlation is None else f"correlation {pair.correlation:.3f}"
        shown = tuple(picture for picture in pictures if picture is not None)
        if len(shown) == 2:
            yield Case(shown, f"{'  |  '.join(names)} ({alike})")


def _in_split(exam: SplitExam, finding: Finding) -> Iterator[Case]:
    dataset = exam.dataset
    if dataset is None or not is_local(dataset):
        return
    for index, objects, caption in islice(_pointed_at(exam, dataset, finding), PER_FINDING):
        picture = _around(dataset, index, objects) if len(objects) else _whole(dataset, index)
        if picture is not None:
            yield Case((picture,), caption)


def _pointed_at(
    exam: SplitExam, dataset: DetectionDataset, finding: Finding
) -> Iterator[tuple[int, Sequence[int], str]]:
    """Yield (image, objects, sentence) of the cases of a finding that a picture should show."""
    annotations, view, fault = dataset.annotations, exam.view, finding.fault
    if fault is BOX_NEAR_DUPLICATE:
        for pair in near_duplicate_boxes(annotations).tolist():
            image = annotations.owner(pair[0])
            names = " and ".join(annotation_name(int(annotations.object_ids[position])) for position in pair)
            class_name = dataset.class_names[dataset.labels[pair[0]]]
            yield image, pair, f"{class_name}: {names}, {annotations.image_place(image)}"
    elif view is not None and fault in (OBJECT_UNREACHED, OBJECT_UNDER_8_PIXELS):
        objects = np.flatnonzero(~np.asarray(dataset.crowd))
        for hit in view.worst(fault)[:PER_FINDING].tolist():
            image, (width, height) = int(view.image_of_box[hit]), view.sides[hit]
            yield image, [int(objects[hit])], (
                f"{view.class_names[view.labels[hit]]}: {width:.1f} x {height:.1f} pixels for the network, "
                f"best anchor IoU {view.best_iou[hit]:.2f}, {annotations.image_place(image)}"
            )  # fmt: skip
    else:
        positions = {int(number): index for index, number in enumerate(dataset.image_ids)}
        for place in finding.places:
            if place.image_id in positions:
                index = positions[place.image_id]
                span = range(int(dataset.offsets[index]), int(dataset.offsets[index + 1]))
                yield index, [i for i in span if annotations.object_ids[i] == place.annotation], place.text


def _whole(dataset: DetectionDataset, index: int) -> np.ndarray | None:
    """Return the image with all of its boxes, at the width of the page; None where it cannot be read."""
    try:
        sample = dataset.sample(index)
    except RetinaError:  # told as a finding of its own
        return None
    image, targets = shrunk(sample, min(1.0, WIDTH / sample.image.shape[1], 1.5 * WIDTH / sample.image.shape[0]))
    crowds = targets.crowd_boxes
    return draw_boxes(image, targets.boxes, targets.labels, class_names=dataset.class_names, crowd_boxes=crowds)


def _around(dataset: DetectionDataset, index: int, objects: Sequence[int]) -> np.ndarray | None:
    """Return what surrounds ``objects``, enlarged, with only their boxes drawn."""
    try:
        image = dataset.sample(index).image
    except RetinaError:
        return None
    xywh = np.asarray(dataset.boxes)[list(objects)]
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    limits = np.array([image.shape[1], image.shape[0]])
    low, high = boxes[:, :2].min(axis=0).clip(0, limits), boxes[:, 2:].max(axis=0).clip(0, limits)
    side = max(_LEAST, float((high - low).max()) * (1 + _CONTEXT))
    start = ((low + high) / 2 - side / 2).clip(0, np.maximum(limits - side, 0)).astype(int)
    stop = np.minimum(start + int(side), limits)
    scale = WIDTH / (stop - start).max()
    crop = image[start[1] : stop[1], start[0] : stop[0]]
    crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    shown = (boxes - np.tile(start, 2)) * scale
    return draw_boxes(crop, shown, np.asarray(dataset.labels)[list(objects)], class_names=dataset.class_names)
