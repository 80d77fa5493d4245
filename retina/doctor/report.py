"""The examination as plain values, and as one table on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retina.data.findings import Finding
from retina.doctor.detector_view import SIZE_NAMES
from retina.doctor.examine import Examination, SplitExam
from retina.drawing.tables import format_table, one_line
from retina.errors import counted

FORMAT_VERSION = 1
CLASS_COLUMNS = ("class", "objects", "images", *SIZE_NAMES, "no anchor")
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_MAX_CLASSES = 20


def as_values(examination: Examination) -> dict[str, Any]:
    """Return the examination as values that JSON can hold; class names and places as they are."""
    return {
        "format_version": FORMAT_VERSION,
        "name": examination.name,
        "images_looked_at": examination.looked_at,
        "counts": examination.counts(),
        "splits": {split: _split_values(exam) for split, exam in examination.splits.items()},
        "findings": [{"split": split or None, **_finding_values(finding)} for split, finding in examination.findings()],
        "speed": dict(examination.speed),
    }


def _split_values(exam: SplitExam) -> dict[str, Any]:
    dataset = exam.dataset
    return {
        "annotations": str(dataset.annotations_file) if dataset else None,
        "images_folder": str(dataset.images_root) if dataset else None,
        "sha256": dataset.fingerprint if dataset else None,
        "images": len(dataset) if dataset else None,
        "objects": dataset.num_objects if dataset else None,
        "crowds": int(dataset.crowd.sum()) if dataset else None,
        "classes": dataset.num_classes if dataset else None,
        "detector_view": exam.view.summary() if exam.view else None,
    }


def _finding_values(finding: Finding) -> dict[str, Any]:
    fault = finding.fault
    return {
        "kind": fault.name,
        "severity": fault.severity,
        "what": finding.what,
        "outcome": fault.outcome,
        "why": fault.why,
        "fix": fault.fix,
        "count": finding.count,
        "places": [str(place) for place in finding.places],
        "file": finding.file,
    }


def print_report(examination: Examination, console: Console) -> None:
    """Print one table of the findings and what the detector will see; plain where ``console`` is no terminal."""
    for line in overview(examination):
        console.print(Text(line), soft_wrap=True)
    if found := examination.findings():
        console.print(_findings_table(found))
    for line in [*detector_lines(examination), *speed_lines(examination)]:
        console.print(Text(line), soft_wrap=True)


def overview(examination: Examination) -> list[str]:
    """Return one line for each split."""
    lines = []
    for split, exam in examination.splits.items():
        dataset = exam.dataset
        if dataset is None:
            lines.append(f"{split:<8}could not be opened")
            continue
        lines.append(
            f"{split:<8}{len(dataset):,} images, {dataset.num_objects:,} objects of {dataset.num_classes} classes, "
            f"{int(dataset.crowd.sum()):,} crowds: {dataset.annotations.source}"
        )
    return lines


def verdict(examination: Examination) -> str:
    """Return how many kinds of findings there are, in words."""
    counts = examination.counts()
    named = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in counts.items() if count]
    return ", ".join(named) if named else "nothing found"


def detector_lines(examination: Examination) -> list[str]:
    """Return what the detector will see of each split, in sentences."""
    lines = []
    for split, exam in examination.splits.items():
        if exam.view is None or not len(exam.view.boxes):
            continue
        values = exam.view.summary()
        before, after = (values[name] for name in ("sizes_original", "sizes_network"))
        sizes = ", ".join(f"{name} {before[name]:,} -> {after[name]:,}" for name in SIZE_NAMES)
        lines += [
            "",
            f"what the detector will see of {split}:",
            f"  objects by size, as annotated -> after the resize: {sizes}",
            f"  shorter side after the resize: median {values['shorter_side_network']['median']:.0f} pixels; "
            f"{values['share_under_8_pixels']:.1%} of the objects under 8",
            f"  no anchor reaches {values['share_unreached']:.1%} of the objects at IoU 0.5",
            f"  objects an image: median {values['objects_per_image']['median']:.0f}, "
            f"most {values['objects_per_image']['most']:.0f}; padding of a batch: {values['share_padding']:.0%}",
        ]
        lines += ["  " + line for line in class_lines(values["classes"])]
    return lines


def class_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the classes with most objects as aligned lines."""
    ranked = sorted(rows, key=lambda row: -row["objects"])
    shown = [class_cells({**row, "name": one_line(row["name"])}) for row in ranked[:_MAX_CLASSES]]
    more = len(ranked) - _MAX_CLASSES
    lines = format_table("", CLASS_COLUMNS, shown, rule=False).split("\n")
    return [*lines, f"... {more} more in dataset_report.json"] if more > 0 else lines


def class_cells(row: Mapping[str, Any]) -> list[str]:
    """Return the texts of one class under ``CLASS_COLUMNS``."""
    share = "-" if row["share_unreached"] is None else f"{row['share_unreached']:.1%}"
    return [row["name"], *(f"{row[name]:,}" for name in ("objects", "images", *SIZE_NAMES)), share]


def speed_lines(examination: Examination) -> list[str]:
    """Return what a step was measured to take, where that was asked for."""
    speed = examination.speed
    if not speed:
        return []
    memory = "" if speed["memory_mib"] is None else f", {speed['memory_mib']:.0f} MiB above rest"
    step = (
        f"a step of {speed['images']} images of {speed['canvas'][0]} x {speed['canvas'][1]}: {speed['seconds']:.2f} s"
    )
    return ["", f"{step}{memory}; an epoch: {speed['epoch_minutes']:.1f} minutes"]


def _findings_table(found: Sequence[tuple[str, Finding]]) -> Table:
    table = Table(show_lines=False, pad_edge=False, expand=False, box=None, header_style="bold")
    for name in ("", "split", "what", "where (the first five)"):
        table.add_column(name, overflow="fold")
    for split, finding in found:
        fault = finding.fault
        what = f"{finding.count:,} {finding.what}" + (f" ({fault.outcome})" if fault.outcome else "")
        lines = [counted(finding.places, finding.count)] if finding.places else []
        if fault.fix and fault.severity != "note":
            lines.append(f"fix: {fault.fix}")
        severity = Text(fault.severity, style=_STYLES[fault.severity])
        table.add_row(severity, Text(split or "all"), Text(one_line(what)), Text("\n".join(map(one_line, lines))))
    return table
