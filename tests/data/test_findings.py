"""What is found in a data set: counted by kind, first places named, in order of severity."""

from __future__ import annotations

import pytest

from retina.data.findings import Fault, Finding, Findings, Place, in_short

OUTSIDE = Fault("box-outside", "warning", "box outside of its image", "boxes outside of their image", "left out")
BROKEN = Fault("image-undecodable", "error", "image that cannot be decoded", "images that cannot be decoded")
EMPTY = Fault("image-empty", "note", "image without objects", "images without objects", "kept")


@pytest.fixture
def findings() -> Findings:
    found = Findings("a.json")
    found.add(EMPTY, count=3)
    for number in range(7):
        found.add(OUTSIDE, f"annotation {number}")
    found.add(BROKEN, "image 4 'b.jpg'")
    return found


def test_errors_come_before_warnings_before_notes(findings):
    assert [finding.fault for finding in findings.all()] == [BROKEN, OUTSIDE, EMPTY]


def test_every_place_is_counted_and_the_first_five_are_named(findings):
    outside = findings.all()[1]
    assert (outside.count, tuple(map(str, outside.places))) == (7, tuple(f"annotation {number}" for number in range(5)))
    assert str(outside) == (
        "7 boxes outside of their image, left out: annotation 0, annotation 1, annotation 2, annotation 3, "
        "annotation 4, ... (7 in all)"
    )


def test_one_place_is_told_in_the_singular_and_a_count_without_places_as_a_count(findings):
    broken, _, empty = findings.all()
    assert str(broken) == "1 image that cannot be decoded: image 4 'b.jpg'"
    assert str(empty) == "3 images without objects, kept"


def test_findings_of_another_reading_add_up(findings):
    together = Findings("a.json")
    together.extend([Finding(OUTSIDE, "a.json", 2, (Place("annotation 8"), Place("annotation 9")))])
    together.extend(findings.all())
    outside = next(finding for finding in together.all() if finding.fault == OUTSIDE)
    assert outside.count == 9
    assert tuple(map(str, outside.places[:3])) == ("annotation 8", "annotation 9", "annotation 0")


def test_in_short_every_warning_has_its_places_and_all_notes_share_a_line(findings):
    findings.add(Fault("box-crowd", "note", "crowd", "crowds"))
    assert in_short(findings.all()) == [
        "error: 1 image that cannot be decoded: image 4 'b.jpg'",
        "warning: 7 boxes outside of their image, left out: annotation 0, annotation 1, annotation 2, annotation 3, "
        "annotation 4, ... (7 in all)",
        "note: 3 images without objects, kept; 1 crowd",
    ]
    assert in_short(()) == []
