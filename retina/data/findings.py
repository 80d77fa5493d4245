"""What was found wrong or odd in a data set: counted by fault, the first places named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from retina.errors import NUM_SHOWN, counted

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_FORMS = re.compile(r"\{(?:([^{}|]*)\|)?([^{}|]*)\}")


@dataclass(frozen=True)
class Fault:
    """Something that can be wrong or odd in a data set: one entry of the catalogue."""

    name: str  # stable, for reports and tests: "box-outside"
    severity: Severity  # error: training refuses; warning: something is left out or assumed; note: worth knowing
    one: str  # "box outside of its image"
    many: str  # "boxes outside of their image"
    outcome: str = ""  # what becomes of them: "left out of training and evaluation"
    fix: str = ""  # a command or a setting
    why: str = ""  # one sentence: what would go wrong; for errors


def error(name: str, text: str, fix: str = "", why: str = "", *, outcome: str = "") -> Fault:
    """Return a fault that training refuses; ``text`` has both numbers: ``box{es} outside of {its|their} image``."""
    return Fault(name, "error", _FORMS.sub(r"\1", text), _FORMS.sub(r"\2", text), outcome, fix, why)


def warning(name: str, text: str, outcome: str, fix: str = "") -> Fault:
    """Return a fault that something comes of, the ``outcome``."""
    return replace(error(name, text, fix, outcome=outcome), severity="warning")


def note(name: str, text: str, outcome: str = "", fix: str = "") -> Fault:
    """Return a fault that is only worth knowing."""
    return replace(error(name, text, fix, outcome=outcome), severity="note")


@dataclass(frozen=True)
class Place:
    """Where something was found: in words, and by the ids of the annotation file where it is an image or an object."""

    text: str  # "annotation 7, image 3 'a.jpg'"
    image_id: int | None = None
    annotation: int | None = None  # as in Annotations.object_ids

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Finding:
    """All places of one fault in one file."""

    fault: Fault
    file: str  # annotation file or folder
    count: int
    places: tuple[Place, ...]  # the first five

    @property
    def what(self) -> str:
        """Return the fault's text in the number that fits."""
        return self.fault.one if self.count == 1 else self.fault.many

    def __str__(self) -> str:
        """Return one line: how many of what, what becomes of them, the first places and the total."""
        outcome = f", {self.fault.outcome}" if self.fault.outcome else ""
        where = f": {counted(self.places, self.count)}" if self.places else ""
        return f"{self.count} {self.what}{outcome}{where}"


@dataclass
class Findings:
    """Collects places by fault while a data set is read; memory does not grow with their number."""

    file: str
    counts: dict[Fault, int] = field(default_factory=dict)
    places: dict[Fault, list[Place]] = field(default_factory=dict)

    def add(self, fault: Fault, place: Place | str = "", *, count: int = 1) -> None:
        """Count ``count`` more of ``fault`` and keep ``place`` if it is among the first."""
        self.counts[fault] = self.counts.get(fault, 0) + count
        known = self.places.setdefault(fault, [])
        if place and len(known) < NUM_SHOWN:
            known.append(Place(place) if isinstance(place, str) else place)

    def add_each(
        self, fault: Fault, positions: Sequence[int] | np.ndarray, place: Callable[[int], Place | str]
    ) -> None:
        """Count every one of ``positions`` and name the first with ``place``."""
        for position in positions[:NUM_SHOWN]:
            self.add(fault, place(int(position)))
        if len(positions) > NUM_SHOWN:
            self.add(fault, count=len(positions) - NUM_SHOWN)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add what was found elsewhere in the same file."""
        for finding in findings:
            for place in finding.places:
                self.add(finding.fault, place)
            if rest := finding.count - len(finding.places):
                self.add(finding.fault, count=rest)

    def all(self) -> tuple[Finding, ...]:
        """Return what was found, errors first, then warnings, then notes, each in the order of the first place."""
        found = [Finding(fault, self.file, count, tuple(self.places[fault])) for fault, count in self.counts.items()]
        return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.fault.severity)))


def in_short(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each finding that changes what is trained or scored, and one line for all that is only said."""
    weighty = [f"{finding.fault.severity}: {finding}" for finding in findings if finding.fault.severity != "note"]
    rest = [str(replace(finding, places=())) for finding in findings if finding.fault.severity == "note"]
    return weighty + ([f"note: {'; '.join(rest)}"] if rest else [])
