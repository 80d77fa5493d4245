"""What was found wrong or odd in a data set: counted by kind, the first places named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from retina.errors import NUM_SHOWN, counted

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Kind:
    """One kind of finding; the places where it was met are counted apart."""

    name: str  # stable, for reports and tests: "box-outside"
    severity: Severity  # error: training refuses; warning: something is left out or assumed; note: worth knowing
    one: str  # "box outside of its image"
    many: str  # "boxes outside of their image"
    outcome: str = ""  # what becomes of them: "left out of training and evaluation"
    fix: str = ""  # a command or a setting
    why: str = ""  # one sentence: what would go wrong; for errors


@dataclass(frozen=True)
class Finding:
    """All places of one kind in one file."""

    kind: Kind
    file: str  # annotation file or folder
    count: int
    places: tuple[str, ...]  # the first five: "annotation 7, image 3 'a.jpg'"

    def __str__(self) -> str:
        """Return one line: how many of what, what becomes of them, the first places and the total."""
        what = f"{self.count} {self.kind.one if self.count == 1 else self.kind.many}"
        outcome = f", {self.kind.outcome}" if self.kind.outcome else ""
        return f"{what}{outcome}: {counted(self.places, self.count)}" if self.places else what + outcome


@dataclass
class Findings:
    """Collects places by kind while a data set is read; memory does not grow with their number."""

    file: str
    counts: dict[Kind, int] = field(default_factory=dict)
    places: dict[Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, place: str = "", *, count: int = 1) -> None:
        """Count ``count`` more of ``kind`` and keep ``place`` if it is among the first."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        known = self.places.setdefault(kind, [])
        if place and len(known) < NUM_SHOWN:
            known.append(place)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add what was found elsewhere in the same file."""
        for finding in findings:
            for place in finding.places:
                self.add(finding.kind, place)
            if rest := finding.count - len(finding.places):
                self.add(finding.kind, count=rest)

    def all(self) -> tuple[Finding, ...]:
        """Return what was found, errors first, then warnings, then notes, each in the order of the first place."""
        found = [Finding(kind, self.file, count, tuple(self.places[kind])) for kind, count in self.counts.items()]
        order = {"error": 0, "warning": 1, "note": 2}
        return tuple(sorted(found, key=lambda finding: order[finding.kind.severity]))


def in_short(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each finding that changes what is trained or scored, and one line for all that is only said."""
    weighty = [f"{finding.kind.severity}: {finding}" for finding in findings if finding.kind.severity != "note"]
    rest = [str(replace(finding, places=())) for finding in findings if finding.kind.severity == "note"]
    return weighty + ([f"note: {'; '.join(rest)}"] if rest else [])
