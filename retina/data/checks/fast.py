"""What can be known of a data set within seconds: whether its files are there, and the headers of some."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from retina.data.catalogue import IMAGE_ZERO_BYTES
from retina.data.checks.images import check_images, file_fault, unchecked
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, Findings

MAX_HEADERS = 1000  # read at the start of a training, spread evenly over the split: a fifth of a second


def check_files(dataset: DetectionDataset) -> tuple[tuple[Finding, ...], np.ndarray]:
    """Return what is wrong with the files themselves, and which images ``(n,)`` are concerned; none is opened.

    Folders are listed once instead of asking for every file.
    """
    findings, bad = Findings(str(dataset.images_root)), np.zeros(len(dataset), dtype=bool)
    listed: dict[str, dict[str, bool]] = {}
    root = Path(os.path.realpath(str(dataset.images_root)))
    for index, file_name in enumerate(dataset.file_names):
        folder, _, name = file_name.rpartition("/")
        if folder not in listed:
            listed[folder] = _plain_files(root / folder, root)
        filled = listed[folder].get(name)
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
    findings = Findings(str(dataset.images_root))
    findings.extend(found)
    there = np.flatnonzero(~bad)
    chosen = there[np.linspace(0, len(there) - 1, min(max_headers, len(there))).round().astype(int)]
    findings.extend(check_images(dataset, depth="header", indices=chosen.tolist()).findings)
    if len(chosen) < len(there):
        reason = f"the headers of {len(chosen):,} of {len(there):,} were read; python tools/doctor.py looks at all"
        return (*findings.all(), unchecked(findings.file, len(there) - len(chosen), reason))
    return findings.all()


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
