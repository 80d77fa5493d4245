"""The examination as one HTML page that needs nothing else: to be sent to whoever labelled the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina.data.findings import Finding
from retina.doctor.cases import Case
from retina.doctor.detector_view import SIZE_NAMES, DetectorView
from retina.doctor.examine import SEVERITIES, Examination
from retina.doctor.page_figures import objects_figure, size_figure
from retina.doctor.report import CLASS_COLUMNS, class_cells, speed_lines, verdict
from retina.drawing.pages import PageFigure, render_page

_MAX_CLASSES = 60
_HEADINGS = {
    "error": ("Errors", "Training refuses to start until these are mended."),
    "warning": ("Warnings", "Training goes on, but something is left out, assumed or likely wrong."),
    "note": ("Notes", "Nothing is wrong; worth knowing."),
}
_ADVICE = {
    "error": "Training will refuse this data set: mend the errors first.",
    "warning": "This data set can be trained on. Read the warnings before you trust a score.",
    "note": "Nothing is wrong with this data set.",
    "good": "Nothing is wrong with this data set.",
}
_LIMITS = {"small": "under 32 x 32", "medium": "up to 96 x 96", "large": "above"}
_Cases = Mapping[tuple[str, str], Sequence[Case]]


def html_page(
    examination: Examination, cases: _Cases, galleries: Mapping[str, Sequence[Case]], *, command: str, date: str
) -> str:
    """Return the page. Every text of the data set is escaped, every picture is part of the page.

    ``cases`` are pictures of findings by (split, name of the fault), ``galleries`` some images of each split.
    ``command`` is what was typed, so that it can be repeated.
    """
    found = examination.findings()
    groups = [
        (
            severity,
            *_HEADINGS[severity],
            [_finding(*each, cases) for each in found if each[1].fault.severity == severity],
        )
        for severity in SEVERITIES
    ]
    counts = examination.counts()
    worst = next((severity for severity in SEVERITIES if counts[severity]), "good")
    views = {split: exam.view for split, exam in examination.splits.items() if exam.view and len(exam.view.boxes)}
    return render_page(
        "dataset_report.html",
        title=f"Data set report: {examination.name}",
        date=date,
        command=command,
        worst=worst,
        advice=_ADVICE[worst],
        verdict=verdict(examination),
        splits=[(split, exam.dataset) for split, exam in examination.splits.items()],
        groups=[group for group in groups if group[-1]],
        views=[_view(split, view) for split, view in views.items()],
        class_columns=CLASS_COLUMNS,
        speed=[line for line in speed_lines(examination) if line],
        galleries=[(split, shown) for split, shown in galleries.items() if shown],
    )


def _finding(split: str, finding: Finding, cases: _Cases) -> dict[str, Any]:
    fault = finding.fault
    sentences = (("What happens", fault.outcome), ("Why it matters", fault.why), ("What to do", fault.fix))
    return {
        "severity": fault.severity,
        "anchor": f"{split or 'all'}-{fault.name}",
        "what": f"{finding.count:,} {finding.what}",
        "where": f" in {split}" if split else "",
        "sentences": [(label, text) for label, text in sentences if text],
        "places": [place.text for place in finding.places],
        "more": finding.count - len(finding.places),
        "file": finding.file,
        "cases": cases.get((split, fault.name), ()),
    }


def _view(split: str, view: DetectorView) -> dict[str, Any]:
    """Return what the detector will see of a split that has objects."""
    values = view.summary()
    sides, images = values["shorter_side_network"], values["objects_per_image"]
    before, after = values["sizes_original"], values["sizes_network"]
    ranked = sorted(values["classes"], key=lambda row: -row["objects"])
    most = max(1, ranked[0]["objects"])
    sizes, caption = size_figure(view)
    return {
        "split": split,
        "facts": [
            ("after the resize the median object has a shorter side of", f"{sides['median']:.0f} pixels"),
            ("objects with a side under 8 pixels", f"{values['share_under_8_pixels']:.1%}"),
            ("objects that no anchor reaches at IoU 0.5", f"{values['share_unreached']:.1%}"),
            ("objects an image: median, most", f"{images['median']:.0f}, {images['most']:.0f}"),
            ("padding of a batch", f"{values['share_padding']:.0%}"),
        ],
        "total": max(1, values["objects"]),
        "sizes": [(name, _LIMITS[name], before[name], after[name]) for name in SIZE_NAMES],
        "classes": [{"cells": class_cells(row), "share": row["objects"] / most} for row in ranked[:_MAX_CLASSES]],
        "more_classes": len(ranked) - _MAX_CLASSES,
        "figures": [
            PageFigure.of(sizes, f"sizes-{split}", "Width and height of the objects after the resize", caption),
            PageFigure.of(objects_figure(view.objects_of_image), f"objects-{split}", "Objects an image"),
        ],
    }
