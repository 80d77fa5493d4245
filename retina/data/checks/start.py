"""What is looked at before a training starts, and what stops it: all files, and within seconds the headers of some."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from retina import distributed
from retina.data.bad_images import MAX_COUNT, MAX_SHARE
from retina.data.catalogue import BAD_IMAGE, IMAGE_ZERO_BYTES, IMAGES_NOT_CHECKED
from retina.data.checks.images import check_images, file_fault, is_local, unchecked
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Findings, in_short
from retina.errors import DataError, counted

MAX_HEADERS = 1000  # read at the start of a training, spread evenly over the split: a fifth of a second


def check_before_training(datasets: Mapping[str, DetectionDataset], depth: str) -> dict[str, tuple[Finding, ...]]:
    """Return what the image files of each split show; ``depth`` is the setting ``train.check_data``.

    Bad images of the training split are tolerated as the trainer does it (``dataset.on_bad_image``); those of a split
    that is scored are not, since the score would be that of another data set.

    ``datasets`` are by the name they have in the run; ``train`` is what is learned from. ``depth`` ``fast``: look for
    every file and read some headers; ``full``: decode every image; ``none``. DataError for what the run would stop at.
    """
    found: dict[str, tuple[Finding, ...]] = {}
    for name, dataset in datasets.items():
        if depth == "none" or not is_local(dataset):
            found[name] = ()
            continue
        findings = check_images(dataset, depth="all").findings if depth == "full" else fast_check(dataset)
        if name == "train" and dataset.on_bad_image == "skip" and _are_few(findings, len(dataset)):
            findings = tuple(skipped(finding) for finding in findings)
        told = [f for f in findings if f.fault.severity != "note" or f.fault.name == IMAGES_NOT_CHECKED.name]
        found[name] = tuple(told)  # gray images and their like are the doctor's to tell
    _refuse([finding for findings in found.values() for finding in findings])
    return found


def check_on_main_rank(datasets: Mapping[str, DetectionDataset], depth: str) -> list[tuple[str, str]]:
    """Return (split, sentence) of what the images show; rank 0 looks, and every rank returns or raises the same."""

    def look() -> list[tuple[str, str]]:
        found = check_before_training(datasets, depth)
        return [(name, line) for name, findings in found.items() for line in in_short(findings)]

    return distributed.on_main_rank(look)


def check_files(dataset: DetectionDataset) -> tuple[tuple[Finding, ...], np.ndarray]:
    """Return what is wrong with the files themselves, and which images ``(n,)`` are concerned; none is opened.

    Folders are listed once instead of asking for every file.
    """
    findings, bad = Findings(str(dataset.images_root)), np.zeros(len(dataset), dtype=bool)
    root = Path(os.path.realpath(str(dataset.images_root)))
    listed = cache(lambda folder: _plain_files(root / folder, root))
    for index, file_name in enumerate(dataset.file_names):
        folder, _, name = file_name.rpartition("/")
        filled = listed(folder).get(name)
        if filled:
            continue
        # Not plainly there: a link, a pipe, a name with other separators, or nothing; looked at one by one.
        fault = IMAGE_ZERO_BYTES if filled is False else file_fault(dataset, index)[1]
        if fault is not None:
            bad[index] = True
            findings.add(fault, dataset.annotations.image_place(index))
    return findings.all(), bad


def fast_check(dataset: DetectionDataset, *, max_headers: int = MAX_HEADERS) -> tuple[Finding, ...]:
    """Return what is wrong with the image files: all of them are looked for, ``max_headers`` are opened."""
    found, bad = check_files(dataset)
    there = np.flatnonzero(~bad)
    chosen = there[np.linspace(0, len(there) - 1, min(max_headers, len(there))).round().astype(int)]
    findings = Findings(str(dataset.images_root))
    findings.extend([*found, *check_images(dataset, depth="header", indices=chosen.tolist()).findings])
    rest = len(there) - len(chosen)
    reason = f"the headers of {len(chosen):,} of {len(there):,} were read; python tools/doctor.py looks at all"
    return (*findings.all(), *([unchecked(findings.file, rest, reason)] if rest else []))


def _plain_files(folder: Path, root: Path) -> dict[str, bool]:
    """Return the regular files of ``folder`` that are no links, and whether there is anything in them."""
    try:
        if not Path(os.path.realpath(folder)).is_relative_to(root):
            return {}
        with os.scandir(folder) as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_size > 0
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            }
    except OSError:
        return {}


def skipped(finding: Finding) -> Finding:
    """Return a finding of bad images as training tells it that goes on without them."""
    outcome = "replaced by other images (dataset.on_bad_image=skip)"
    told = replace(finding.fault, severity="warning", outcome=outcome)
    return replace(finding, fault=told) if finding.fault in BAD_IMAGE else finding


def _are_few(findings: Sequence[Finding], num_images: int) -> bool:
    """Return whether the trainer would go on with so many bad images."""
    bad = sum(finding.count for finding in findings if finding.fault in BAD_IMAGE)
    return bad < MAX_COUNT and bad <= max(1, MAX_SHARE * num_images)


def _refuse(findings: Sequence[Finding]) -> None:
    errors = [finding for finding in findings if finding.fault.severity == "error"]
    if not errors:
        return
    first, more = errors[0], len(errors) - 1
    fix = first.fault.fix + ("; " if first.fault.fix else "")
    also = f"{more} more kind{'s' * (more > 1)} of errors; " if more else ""
    raise DataError(
        f"{first.count} {first.what}: {first.file} [{counted(first.places, first.count)}]",
        why=first.fault.why or "the run would stop when it meets them",
        fix=f"{fix}{also}python tools/doctor.py dataset=... lists all",
    )
