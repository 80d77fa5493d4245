"""The examination of a data set: annotations, image files, copies across splits, and what the detector will see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from retina.data.annotations import annotation_name
from retina.data.checks.images import ImageCheck, check_images, is_local, unchecked
from retina.data.dataset import DetectionDataset
from retina.data.findings import SEVERITIES, Finding, Findings
from retina.data.folders import DataFolder, Opened
from retina.doctor.catalogue import BOX_NEAR_DUPLICATE, CLASS_ONLY_EVALUATED, SPLITS_DIFFER_IN_CLASSES
from retina.doctor.detector_view import DetectorView, Lens, look_through, view_findings
from retina.doctor.duplicates import Pair, duplicate_findings, find_duplicates, near_duplicate_boxes
from retina.drawing.tables import progress

Images = Literal["all", "header", "none"]


@dataclass(frozen=True)
class SplitExam:
    """What was found in one split."""

    opened: Opened
    findings: tuple[Finding, ...]  # of annotations, images and the detector's view
    images: ImageCheck | None = None
    view: DetectorView | None = None

    @property
    def dataset(self) -> DetectionDataset | None:  # None: could not be opened
        return self.opened.dataset


@dataclass(frozen=True)
class Examination:
    """What was found in a data set."""

    name: str
    splits: dict[str, SplitExam]
    across: tuple[Finding, ...] = ()  # of several splits together
    pairs: Sequence[Pair] = ()  # of images that show the same
    looked_at: Images = "all"
    speed: Mapping[str, Any] = field(default_factory=dict)  # seconds and memory of a step, where measured

    def findings(self) -> list[tuple[str, Finding]]:
        """Return all findings with their split ("" for those of several), errors first."""
        found = [("", finding) for finding in self.across]
        found += [(split, finding) for split, exam in self.splits.items() for finding in exam.findings]
        return sorted(found, key=lambda entry: SEVERITIES.index(entry[1].fault.severity))

    def counts(self) -> dict[str, int]:
        """Return the number of faults by severity."""
        found: list[str] = [finding.fault.severity for _, finding in self.findings()]
        return {severity: found.count(severity) for severity in SEVERITIES}


def examine(
    folder: DataFolder, splits: Sequence[str], *, images: Images = "all", lens: Lens | None = None
) -> Examination:
    """Return what is wrong, odd and worth knowing about ``splits`` of ``folder``.

    The split ``train`` is what is learned from, the others are what is scored. Of the ``images`` all pixels are looked
    at, the header of each file, or nothing; without a ``lens`` nobody asks what the detector will see.
    """
    exams = {split: _examine_split(folder.inspect(split), images, lens) for split in splits}
    datasets = {split: exam.dataset for split, exam in exams.items() if exam.dataset is not None}
    checks = {split: exam.images for split, exam in exams.items() if exam.images is not None}
    pairs, not_compared = find_duplicates(checks) if images == "all" else ([], 0)
    across = [*_class_findings(datasets), *duplicate_findings(pairs, not_compared, datasets)]
    return Examination(folder.name, exams, tuple(across), pairs, images)


def _examine_split(opened: Opened, images: Images, lens: Lens | None) -> SplitExam:
    dataset, findings = opened.dataset, list(opened.findings)
    if dataset is None:
        return SplitExam(opened, tuple(findings))
    if BOX_NEAR_DUPLICATE not in {finding.fault for finding in findings}:
        findings += _near_duplicate_boxes(dataset)
    check = view = None
    if images != "none" and is_local(dataset):
        check = check_images(dataset, depth=images, track=_tracked)
        findings += check.findings
    elif images != "none":
        findings.append(unchecked(str(dataset.images_root), len(dataset), "they are in no folder of this machine"))
    if lens is not None:
        view = look_through(dataset, lens)
        findings += view_findings(dataset, view, lens.max_detections, training=dataset.split == "train")
    return SplitExam(opened, tuple(findings), check, view)


def _tracked(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    with progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance(bar.task)


def _near_duplicate_boxes(dataset: DetectionDataset) -> tuple[Finding, ...]:
    """Return the pairs of boxes that look like one object labelled twice: not asked for when a training reads."""
    findings, annotations = Findings(dataset.annotations.source), dataset.annotations
    for first, second in near_duplicate_boxes(annotations).tolist():
        pair = " and ".join(annotation_name(number) for number in annotations.object_ids[[first, second]].tolist())
        name = annotations.class_names[annotations.labels[first]]
        image = annotations.image_place(annotations.owner(first))
        findings.add(BOX_NEAR_DUPLICATE, replace(image, text=f"{pair} ({name!r}), {image}"))
    return findings.all()


def _class_findings(datasets: Mapping[str, DetectionDataset]) -> tuple[Finding, ...]:
    """Return categories that not all splits have, and classes that can be scored but not learned."""
    findings = Findings(" and ".join(dataset.annotations.source for dataset in datasets.values()))
    having: dict[tuple[int, str], list[str]] = {}
    for split, dataset in datasets.items():
        for category in zip(dataset.category_ids, dataset.class_names, strict=True):
            having.setdefault(category, []).append(split)
    for (number, name), splits in sorted(having.items()):
        if len(splits) < len(datasets):
            findings.add(SPLITS_DIFFER_IN_CLASSES, f"category {number} {name!r} (only in {' and '.join(splits)})")
    used = {split: {d.class_names[label] for label in np.unique(d.labels[~d.crowd])} for split, d in datasets.items()}
    for split in used if "train" in used else ():
        for name in sorted(used[split] - used["train"]):
            findings.add(CLASS_ONLY_EVALUATED, f"{name!r} in {split}")
    return findings.all()
