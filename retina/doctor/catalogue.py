"""What only the doctor looks for, and the table of all faults for docs/doctor.md."""

from __future__ import annotations

from retina.data import catalogue
from retina.data.findings import Fault, error, note, warning

# Copies.
IMAGES_IDENTICAL = warning(
    "images-identical",
    "pair{s} of identical images",
    "each counts on its own",
    "keep one of them, with the objects of both",
)
SPLIT_LEAK = warning(
    "split-leak", "image{ stands|s stand} in two splits", "the score is too good", "take it out of one of them"
)
IMAGES_NEARLY_IDENTICAL = note("images-nearly-identical", "pair{s} of nearly identical images")
SPLIT_NEAR_LEAK = warning(
    "split-near-leak",
    "image{ stands|s stand} nearly identical in two splits",
    "the score is too good",
    "keep pictures of one scene in one split",
)

# Several splits, and what the detector will see.
SPLITS_DIFFER_IN_CLASSES = error(
    "splits-differ-in-classes",
    "{category|categories} that not all splits have",
    "give all files the same list of categories, also of those without a box",
)
CLASS_TINY = warning(
    "class-tiny",
    "class{ has|es have} fewer than 10 objects to learn from",
    "hardly learned",
    "label more, or merge it with another",
)
CLASS_IMBALANCE = note(
    "class-imbalance", "class{ has|es have} under 1 % of the objects of the most frequent one", "learned slowly"
)
CLASS_ONLY_EVALUATED = warning(
    "class-only-evaluated",
    "class{ has|es have} objects to be found but none to learn from",
    "each will have an AP of 0",
)
OBJECT_UNREACHED = note(
    "object-unreached",
    "object{s} that no anchor reaches at IoU 0.5",
    "matched with their best anchor, however little it fits",
    "python tools/anchors.py with the same settings; or a larger image.short_side",
)
OBJECT_UNDER_8_PIXELS = note(
    "object-under-8-pixels",
    "object{s} with a side under 8 pixels after the resize",
    "hardly seen",
    "a larger image.short_side and image.long_side",
)
IMAGE_WITH_MANY_OBJECTS = warning(
    "image-with-many-objects",
    "image{ has|s have} more objects than may be detected",
    "some cannot be found",
    "a larger postprocess.max_detections",
)
BOX_NEAR_DUPLICATE = note("box-near-duplicate", "pair{s} of nearly equal boxes of one class (IoU above 0.9)", "kept")


def _faults_of(names: dict[str, object]) -> list[Fault]:
    return [value for value in names.values() if isinstance(value, Fault)]


_READ = _faults_of(vars(catalogue))
_HEADINGS = {
    "Image files": _READ[: _READ.index(catalogue.BOX_MALFORMED)],
    "Copies, what the detector will see": _faults_of(globals()),
    "Annotations of any format": _READ[_READ.index(catalogue.BOX_MALFORMED) : _READ.index(catalogue.FILE_UNREADABLE)],
    "COCO files": _READ[_READ.index(catalogue.FILE_UNREADABLE) :],
}
FAULTS = tuple(fault for faults in _HEADINGS.values() for fault in faults)


def as_markdown() -> str:
    """Return the tables of docs/doctor.md: a heading and a table for each group of faults."""
    lines = []
    for heading, faults in _HEADINGS.items():
        head = ["| kind | severity | what | what happens | what to do |", "|---|---|---|---|---|"]
        lines += [f"### {heading}", "", *head]
        for fault in faults:
            cells = (f"`{fault.name}`", fault.severity, fault.one, fault.outcome or "-", fault.fix or "-")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
