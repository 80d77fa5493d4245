"""The examination of a data set: annotations, image files, copies across splits, and what the detector will see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from retina.data.annotations import annotation_name, near_duplicate_boxes
from retina.data.catalogue import BOX_NEAR_DUPLICATE
from retina.data.checks.images import ImageCheck, Track, check_images, is_local, untracked
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Findings
from retina.doctor.detector_view import DetectorView, Lens, look_through, view_findings
from retina.doctor.duplicates import Pair, duplicate_findings, find_duplicates
from retina.doctor.kinds import CLASSES_DIFFER, UNSEEN_CLASS, unchecked
from retina.doctor.opening import Opened, open_split

Images = Literal["all", "header", "none"]
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class SplitExam:
    """What was found in one split."""

    opened: Opened
    findings: tuple[Finding, ...]  # of annotations, images and the detector's view
    images: ImageCheck | None = None
    view: DetectorView | None = None

    @property
    def dataset(self) -> DetectionDataset | None:
        """Return the data set, where it could be opened."""
        return self.opened.dataset


@dataclass(frozen=True)
class Examination:
    """What was found in a data set."""

    name: str
    splits: Mapping[str, SplitExam]
    across: tuple[Finding, ...]  # what several splits show together
    identical: Sequence[Pair] = ()
    near: Sequence[Pair] = ()
    looked_at: Images = "all"
    speed: Mapping[str, Any] = field(default_factory=dict)  # measured where asked for

    def findings(self) -> list[tuple[str, Finding]]:
        """Return every finding with its split ("" for those across splits), the severest first."""
        found = [("", finding) for finding in self.across]
        found += [(split, finding) for split, exam in self.splits.items() for finding in exam.findings]
        return sorted(found, key=lambda entry: SEVERITIES.index(entry[1].kind.severity))

    def counts(self) -> dict[str, int]:
        """Return the number of kinds of findings by severity."""
        found: list[str] = [finding.kind.severity for _, finding in self.findings()]
        return {severity: found.count(severity) for severity in SEVERITIES}


def examine(
    folder: Any, splits: Sequence[str], *, images: Images = "all", lens: Lens | None = None, track: Track = untracked
) -> Examination:
    """Return what is wrong, odd and worth knowing about ``splits`` of ``folder``.

    Args:
        folder: a folder class of ``retina.data``.
        splits: their names; ``train`` is what is learned from, the others are what is scored.
        images: look at ``all`` pixels, at the ``header`` of each file, or at ``none``.
        lens: how the detector looks at images; None: not asked.
        track: shows how far a pass is.
    """
    exams = {split: _examine_split(open_split(folder, split), images, lens, track) for split in splits}
    datasets = {split: exam.dataset for split, exam in exams.items() if exam.dataset is not None}
    checks = {split: exam.images for split, exam in exams.items() if exam.images is not None}
    identical, near, not_compared = find_duplicates(checks) if images == "all" else ([], [], 0)
    across = [*_class_findings(datasets), *duplicate_findings(identical, near, not_compared, datasets)]
    return Examination(folder.name, exams, tuple(across), identical, near, images)


def _examine_split(opened: Opened, images: Images, lens: Lens | None, track: Track) -> SplitExam:
    dataset, findings = opened.dataset, list(opened.findings)
    if dataset is None:
        return SplitExam(opened, tuple(findings))
    if BOX_NEAR_DUPLICATE.name not in {finding.kind.name for finding in findings}:
        findings += _near_duplicate_boxes(dataset)
    check = None
    if images != "none" and is_local(dataset):
        check = check_images(dataset, depth=images, track=track)
        findings += check.findings
    elif images != "none":
        findings.append(unchecked(str(dataset.images_root), len(dataset), "they are in no folder of this machine"))
    view = None
    if lens is not None:
        view = look_through(dataset, lens)
        findings += view_findings(dataset, view, lens.max_detections, training=dataset.split == "train")
    return SplitExam(opened, tuple(findings), check, view)


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
            findings.add(CLASSES_DIFFER, f"category {number} {name!r} (only in {' and '.join(splits)})")
    used = {
        split: {d.class_names[label] for label in set(d.labels[~d.crowd].tolist())} for split, d in datasets.items()
    }
    for split in used.keys() - {"train"} if "train" in used else ():
        for name in sorted(used[split] - used["train"]):
            findings.add(UNSEEN_CLASS, f"{name!r} in {split}")
    return findings.all()
