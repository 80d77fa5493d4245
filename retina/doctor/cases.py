"""Pictures of what was found: the boxes in question drawn large, pairs of images side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from retina.data.annotations import annotation_name, near_duplicate_boxes
from retina.data.checks.images import is_local, place
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding
from retina.doctor.duplicates import Pair, Picture
from retina.doctor.examine import Examination, SplitExam
from retina.doctor.kinds import BAD_IMAGE, IDENTICAL, LEAK, NEAR, NEAR_LEAK, SMALL_SIDE, UNREACHED
from retina.drawing.boxes import draw_boxes
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
    """Return pictures for findings, by (split, name of the kind); findings without a picture are left out."""
    cases = {}
    for split, finding in examination.findings():
        kind = finding.kind
        if kind.name in (IDENTICAL.name, LEAK.name, NEAR.name, NEAR_LEAK.name):
            found = list(_pair_cases(examination, finding))
        elif split and kind not in BAD_IMAGE:
            found = list(_split_cases(examination.splits[split], finding))
        else:
            found = []
        if found:
            cases[split, kind.name] = found
    return cases


def gallery(exam: SplitExam, count: int) -> list[Case]:
    """Return ``count`` images with their objects, spread over the split: what one would look at first."""
    dataset = exam.dataset
    if dataset is None or not is_local(dataset):
        return []
    bad = {each.index for each in exam.images.seen if each.is_bad} if exam.images else set()
    good = [index for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist() if index not in bad]
    shown = ((index, _whole(dataset, index)) for index in dict.fromkeys(good))
    return [Case((picture,), place(dataset, index)) for index, picture in shown if picture is not None]


def _split_cases(exam: SplitExam, finding: Finding) -> Iterator[Case]:
    dataset = exam.dataset
    if dataset is None or not is_local(dataset):
        return
    for index, objects, caption in _pointed_at(exam, dataset, finding)[:PER_FINDING]:
        picture = _around(dataset, index, objects) if len(objects) else _whole(dataset, index)
        if picture is not None:
            yield Case((picture,), caption)


def _pointed_at(exam: SplitExam, dataset: DetectionDataset, finding: Finding) -> list[tuple[int, Sequence[int], str]]:
    """Return (image, objects, sentence) of the cases of a finding that a picture should show."""
    name, view = finding.kind.name, exam.view
    if name == "box-near-duplicate":
        return [
            (_owner(dataset, int(first)), (int(first), int(second)),
             f"{dataset.class_names[dataset.labels[first]]}: {_name(dataset, int(first))} and "
             f"{_name(dataset, int(second))}, {place(dataset, _owner(dataset, int(first)))}")
            for first, second in near_duplicate_boxes(dataset.annotations)[:PER_FINDING]
        ]  # fmt: skip
    if view is not None and name in (UNREACHED.name, SMALL_SIDE.name):
        worst = view.worst(unreached=name == UNREACHED.name)
        objects = np.flatnonzero(~np.asarray(dataset.crowd))
        return [
            (int(view.image_of_box[i]), (int(objects[i]),),
             f"{view.class_names[view.labels[i]]}: {view.sides[i, 0]:.1f} x {view.sides[i, 1]:.1f} pixels for the "
             f"network, best anchor IoU {view.best_iou[i]:.2f}, {place(dataset, int(view.image_of_box[i]))}")
            for i in worst[:PER_FINDING]
        ]  # fmt: skip
    return list(_places(dataset, finding))


def _name(dataset: DetectionDataset, index: int) -> str:
    return annotation_name(int(dataset.annotations.object_ids[index]))


def _places(dataset: DetectionDataset, finding: Finding) -> Iterator[tuple[int, Sequence[int], str]]:
    """Yield what the places of a finding name."""
    positions = {int(number): index for index, number in enumerate(dataset.image_ids)}
    for found in finding.places:
        if found.image_id in positions:
            index = positions[found.image_id]
            span = range(int(dataset.offsets[index]), int(dataset.offsets[index + 1]))
            yield index, [i for i in span if dataset.annotations.object_ids[i] == found.annotation], found.text


def _pair_cases(examination: Examination, finding: Finding) -> Iterator[Case]:
    exact, across = finding.kind.name in (IDENTICAL.name, LEAK.name), finding.kind.name in (LEAK.name, NEAR_LEAK.name)
    pairs = examination.identical if exact else examination.near
    chosen = [pair for pair in pairs if (pair.first.split != pair.second.split) == across]
    for pair in chosen[:PER_FINDING]:
        pictures = [_of_picture(examination, picture) for picture in (pair.first, pair.second)]
        if all(picture is not None for picture in pictures):
            yield Case(tuple(p for p in pictures if p is not None), _pair_caption(examination, pair))


def _pair_caption(examination: Examination, pair: Pair) -> str:
    def named(picture: Picture) -> str:
        dataset = examination.splits[picture.split].dataset
        return f"{picture.split}: {place(dataset, picture.index)}" if dataset is not None else picture.split

    alike = "the same content" if pair.correlation == 1 else f"correlation {pair.correlation:.3f}"
    return f"{named(pair.first)}  |  {named(pair.second)} ({alike})"


def _of_picture(examination: Examination, picture: Picture) -> np.ndarray | None:
    dataset = examination.splits[picture.split].dataset
    return None if dataset is None else _whole(dataset, picture.index)


def _whole(dataset: DetectionDataset, index: int) -> np.ndarray | None:
    """Return the image with all of its boxes, at the width of the page; None where it cannot be read."""
    try:
        sample = dataset.sample(index)
    except RetinaError:  # told as a finding of its own
        return None
    scale = min(1.0, WIDTH / sample.image.shape[1], 1.5 * WIDTH / sample.image.shape[0])
    image = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    targets = sample.targets
    return draw_boxes(image, targets.boxes * scale, targets.labels, class_names=dataset.class_names,
                      crowd_boxes=targets.crowd_boxes * scale)  # fmt: skip


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


def _owner(dataset: DetectionDataset, position: int) -> int:
    return int(np.searchsorted(dataset.offsets, position, side="right")) - 1
