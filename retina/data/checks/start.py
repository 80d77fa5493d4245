"""What is looked at before a training starts, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from retina import distributed
from retina.data.bad_images import MAX_COUNT, MAX_SHARE
from retina.data.catalogue import BAD_IMAGE, IMAGES_NOT_CHECKED
from retina.data.checks.fast import fast_check
from retina.data.checks.images import check_images, is_local
from retina.data.dataset import DetectionDataset
from retina.data.findings import Finding, in_short
from retina.errors import DataError, counted


def check_before_training(datasets: Mapping[str, DetectionDataset], depth: str) -> dict[str, tuple[Finding, ...]]:
    """Return what the image files of each split show; ``depth`` is the setting ``train.check_data``.

    Bad images of the training split are borne as the trainer bears them (``dataset.on_bad_image``); those of a split
    that is scored are not, since the score would be that of another data set.

    Args:
        datasets: by the name they have in the run; ``train`` is what is learned from.
        depth: ``fast``: look for every file and read some headers; ``full``: decode every image; ``none``.

    Raises:
        DataError: there are images that the run would stop at.
    """
    found: dict[str, tuple[Finding, ...]] = {}
    for name, dataset in datasets.items():
        if depth == "none" or not is_local(dataset):
            found[name] = ()
            continue
        full = depth == "full"
        findings = check_images(dataset, depth="all").findings if full else fast_check(dataset)
        if name == "train" and dataset.on_bad_image == "skip" and _are_few(findings, len(dataset)):
            findings = tuple(skipped(finding) for finding in findings)
        # Gray images and their like are the doctor's to tell.
        found[name] = tuple(
            f for f in findings if f.fault.severity != "note" or f.fault.name == IMAGES_NOT_CHECKED.name
        )
    _refuse([finding for findings in found.values() for finding in findings])
    return found


def check_on_main_rank(datasets: Mapping[str, DetectionDataset], depth: str) -> list[tuple[str, str]]:
    """Return (split, sentence) of what the images show; rank 0 looks, and every rank returns or raises the same.

    Raises:
        DataError: as :func:`check_before_training`.
    """
    told: list[tuple[str, str]] | DataError | None = None
    if distributed.is_main():
        try:
            found = check_before_training(datasets, depth)
            told = [(name, line) for name, findings in found.items() for line in in_short(findings)]
        except DataError as error:
            told = error
    told = distributed.broadcast_object(told)
    if isinstance(told, DataError):
        raise told
    return told or []


def skipped(finding: Finding) -> Finding:
    """Return a finding of bad images as training tells it that goes on without them."""
    if finding.fault not in BAD_IMAGE:
        return finding
    outcome = "replaced by other images (dataset.on_bad_image=skip)"
    return replace(finding, fault=replace(finding.fault, severity="warning", outcome=outcome))


def _are_few(findings: Sequence[Finding], num_images: int) -> bool:
    """Tell whether the trainer would go on with so many bad images."""
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
