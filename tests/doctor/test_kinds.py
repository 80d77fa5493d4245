from __future__ import annotations

from pathlib import Path

import retina.data.catalogue as annotation_kinds
import retina.data.coco.kinds as coco_kinds
from retina.data.findings import Finding, Kind
from retina.doctor import kinds
from retina.doctor.kinds import BAD_IMAGE, GRAY, MISSING, skipped

OURS = [value for value in vars(kinds).values() if isinstance(value, Kind)]
READERS = [v for module in (annotation_kinds, coco_kinds) for v in vars(module).values() if isinstance(v, Kind)]


def test_names_are_unique_and_errors_say_what_to_do():
    names = [kind.name for kind in (*OURS, *READERS)]
    assert len(OURS) >= 30
    assert len(set(names)) == len(names)
    without = [kind.name for kind in OURS if kind.severity == "error" and not kind.fix]
    assert without == ["split-unreadable"]  # it is told with the reason's own


def test_bad_images_are_errors_until_training_bears_them():
    assert {kind.severity for kind in BAD_IMAGE} == {"error"}
    borne = skipped(Finding(MISSING, "images", 2, ("image 1",)))
    assert borne.kind.severity == "warning"
    assert "replaced by other images" in str(borne)
    gray = Finding(GRAY, "images", 1, ())
    assert skipped(gray) is gray


def test_every_kind_is_explained_in_the_documentation():
    text = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [kind.name for kind in (*OURS, *READERS) if f"`{kind.name}`" not in text] == []
    for kind in (*OURS, *READERS):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{kind.name}`"))
        assert f"| {kind.severity} |" in row, row
