"""The examination as one HTML page that needs nothing else: to be sent to whoever labelled the data."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from retina.data.findings import Finding
from retina.doctor.cases import Case
from retina.doctor.detector_view import SIZE_NAMES
from retina.doctor.examine import SEVERITIES, Examination, SplitExam
from retina.doctor.page_charts import histogram, size_scatter
from retina.doctor.page_style import STYLE
from retina.doctor.report import speed_lines, verdict

_QUALITY = 82  # of JPEG: a picture of 440 pixels is about 40 kB
_MAX_CLASSES = 60
_HEADINGS = {
    "error": ("Errors", "Training refuses to start until these are mended."),
    "warning": ("Warnings", "Training goes on, but something is left out, assumed or likely wrong."),
    "note": ("Notes", "Nothing is wrong; worth knowing."),
}
_Cases = Mapping[tuple[str, str], Sequence[Case]]


def html_page(
    examination: Examination, cases: _Cases, galleries: Mapping[str, Sequence[Case]], *, command: str, date: str
) -> str:
    """Return the page. Every text of the data set is escaped, every picture is part of the page.

    Args:
        examination: what was found.
        cases: pictures of findings, by (split, name of the kind).
        galleries: some images of each split.
        command: what was typed, so that it can be repeated.
        date: when.
    """
    name = escape(examination.name)
    body = [
        f"<h1>Data set report: {name}</h1>",
        f'<p class="soft">{escape(date)} &middot; <code>{escape(command)}</code></p>',
        _verdict(examination),
        _tiles(examination),
        _contents(examination),
        *(_section(examination, severity, cases) for severity in SEVERITIES),
        *(_view(split, exam) for split, exam in examination.splits.items()),
        *(f'<p>{escape(line)}</p>' for line in speed_lines(examination) if line),
        *(_gallery(split, shown) for split, shown in galleries.items() if shown),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing may be fetched or run, whatever a class name or a file name holds.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>Data set report: {name}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def picture_uri(picture: np.ndarray) -> str:
    """Return ``(H, W, 3)`` RGB pixels as the text of a JPEG that can stand in a page."""
    encoded, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded")
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def _verdict(examination: Examination) -> str:
    counts = examination.counts()
    worst = next((severity for severity in SEVERITIES if counts[severity]), "good")
    advice = {
        "error": "Training will refuse this data set: mend the errors first.",
        "warning": "This data set can be trained on. Read the warnings before you trust a score.",
        "note": "Nothing is wrong with this data set.",
        "good": "Nothing is wrong with this data set.",
    }[worst]
    found = f'<span class="small">{escape(verdict(examination))}</span>'
    return f'<div class="verdict {worst}"><b>{advice}</b><br>{found}</div>'


def _tiles(examination: Examination) -> str:
    tiles = []
    for split, exam in examination.splits.items():
        dataset = exam.dataset
        if dataset is None:
            text = "<p>could not be opened</p>"
        else:
            text = (
                f'<b class="big">{len(dataset):,} images</b>{dataset.num_objects:,} objects of '
                f"{dataset.num_classes} classes, {int(dataset.crowd.sum()):,} crowds"
                f'<p class="soft small"><code>{escape(dataset.annotations.source)}</code></p>'
            )
        tiles.append(f'<div class="tile"><span class="soft">{escape(split)}</span>{text}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _contents(examination: Examination) -> str:
    entries = [
        f'<li><span class="badge {finding.kind.severity}">{finding.kind.severity}</span>'
        f'<a href="#{_anchor(split, finding)}">{_what(finding)}</a>{f" in {escape(split)}" if split else ""}</li>'
        for split, finding in examination.findings()
    ]
    entries += [
        f'<li><a href="#view-{escape(split)}">What the detector will see of {escape(split)}</a></li>'
        for split, exam in examination.splits.items()
        if exam.view is not None
    ]
    return f"<nav><h2>Contents</h2><ul>{''.join(entries)}</ul></nav>"


def _section(examination: Examination, severity: str, cases: _Cases) -> str:
    found = [entry for entry in examination.findings() if entry[1].kind.severity == severity]
    if not found:
        return ""
    heading, sentence = _HEADINGS[severity]
    parts = [_finding(split, finding, cases.get((split, finding.kind.name), ())) for split, finding in found]
    return f'<h2 id="{severity}">{heading}</h2><p class="soft">{sentence}</p>' + "\n".join(parts)


def _finding(split: str, finding: Finding, cases: Sequence[Case]) -> str:
    kind = finding.kind
    lines = [
        f'<h3><span class="badge {kind.severity}">{kind.severity}</span>{_what(finding)}'
        f'<span class="soft">{f" in {escape(split)}" if split else ""}</span></h3>'
    ]
    for label, text in (("What happens", kind.outcome), ("Why it matters", kind.why), ("What to do", kind.fix)):
        if text:
            lines.append(f"<p><b>{label}:</b> {escape(text)}</p>")
    if finding.places:
        items = "".join(f"<li>{escape(place.text)}</li>" for place in finding.places)
        rest = finding.count - len(finding.places)
        more = f'<p class="soft small">and {rest:,} more</p>' if rest > 0 else ""
        lines.append(f'<ul class="small">{items}</ul>{more}')
    lines.append(f'<p class="soft small"><code>{escape(finding.file)}</code></p>')
    if cases:
        lines.append(_pictures(cases))
    return f'<div class="finding {kind.severity}" id="{_anchor(split, finding)}">{"".join(lines)}</div>'


def _pictures(cases: Sequence[Case]) -> str:
    figures = []
    for case in cases:
        images = "".join(f'<img alt="{escape(case.caption)}" src="{picture_uri(p)}">' for p in case.pictures)
        content = f'<div class="pair">{images}</div>' if len(case.pictures) > 1 else images
        figures.append(f"<figure>{content}<figcaption>{escape(case.caption)}</figcaption></figure>")
    pairs = " pairs" if any(len(case.pictures) > 1 for case in cases) else ""
    return f'<div class="pictures{pairs}">{"".join(figures)}</div>'


def _view(split: str, exam: SplitExam) -> str:
    view = exam.view
    if view is None or not len(view.boxes):
        return ""
    values = view.summary()
    sides, images = values["shorter_side_network"], values["objects_per_image"]
    facts = [
        ("after the resize the median object has a shorter side of", f"{sides['median']:.0f} pixels"),
        ("objects with a side under 8 pixels", f"{values['share_under_8_pixels']:.1%}"),
        ("objects that no anchor reaches at IoU 0.5", f"{values['share_unreached']:.1%}"),
        ("objects an image: median, most", f"{images['median']:.0f}, {images['most']:.0f}"),
        ("padding of a batch", f"{values['share_padding']:.0%}"),
    ]
    tiles = "".join(f'<div class="tile"><b class="big">{fact}</b>{label}</div>' for label, fact in facts)
    return (
        f'<h2 id="view-{escape(split)}">What the detector will see of {escape(split)}</h2>'
        f'<div class="tiles">{tiles}</div>{_sizes(values)}<h3>Classes</h3>{_classes(values["classes"])}'
        f"<h3>Width and height of the objects after the resize</h3>{size_scatter(view)}"
        f"<h3>Objects an image</h3>{histogram(view.objects_of_image)}"
    )


def _sizes(values: Mapping[str, Any]) -> str:
    before, after = values["sizes_original"], values["sizes_network"]
    total = max(1, values["objects"])
    limits = {"small": "under 32 x 32", "medium": "up to 96 x 96", "large": "above"}
    rows = [
        f"<tr><td>{name} <span class='soft'>({limits[name]})</span></td>"
        f"{_cells(f'{table[name]:,}' for table in (before, after))}"
        f'<td class="bars">{_bar(before[name] / total)}{_bar(after[name] / total, "second")}</td></tr>'
        for name in SIZE_NAMES
    ]
    head = "<tr><th>size</th><th>as annotated</th><th>after the resize</th><th></th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _classes(rows: Sequence[Mapping[str, Any]]) -> str:
    ranked = sorted(rows, key=lambda row: -row["objects"])
    most = max(1, ranked[0]["objects"]) if ranked else 1
    lines = []
    for row in ranked[:_MAX_CLASSES]:
        share = "-" if row["share_unreached"] is None else f"{row['share_unreached']:.1%}"
        cells = [f"{row[name]:,}" for name in ("objects", "images", *SIZE_NAMES)]
        lines.append(
            f"<tr><td>{escape(row['name'])}</td>{_cells(cells)}<td>{share}</td>"
            f'<td class="bars">{_bar(row["objects"] / most)}</td></tr>'
        )
    head = "".join(f"<th>{name}</th>" for name in ("class", "objects", "images", *SIZE_NAMES, "no anchor", ""))
    more = len(ranked) - _MAX_CLASSES
    rest = f'<p class="soft small">{more} more in dataset_report.json</p>' if more > 0 else ""
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>{rest}'


def _gallery(split: str, cases: Sequence[Case]) -> str:
    return f"<h2>Some images of {escape(split)}</h2>{_pictures(cases)}"


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{value}</td>" for value in values)


def _bar(share: float, style: str = "") -> str:
    return f'<div class="bar {style}" style="width:{100 * share:.1f}%"></div>'


def _what(finding: Finding) -> str:
    return f"{finding.count:,} {escape(finding.kind.one if finding.count == 1 else finding.kind.many)}"


def _anchor(split: str, finding: Finding) -> str:
    return escape(f"{split or 'all'}-{finding.kind.name}")
