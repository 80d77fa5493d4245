"""The catalogue of faults: one name each, and what a user needs to continue."""

from __future__ import annotations

from pathlib import Path

from retina.data import catalogue
from retina.data.catalogue import BAD_IMAGE, REQUIRED
from retina.doctor import catalogue as doctors
from retina.doctor.catalogue import FAULTS, as_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def test_a_constant_carries_the_unique_name_of_its_fault():
    names = [fault.name for fault in FAULTS]
    assert len(names) >= 65
    assert len(set(names)) == len(names)
    assert {(vars(catalogue) | vars(doctors))[name.upper().replace("-", "_")] for name in names} == set(FAULTS)


def test_a_text_has_a_singular_and_a_plural():
    assert (catalogue.BOX_OUTSIDE.one, catalogue.BOX_OUTSIDE.many) == (
        "box outside of its image", "boxes outside of their image"
    )  # fmt: skip
    for fault in FAULTS:
        assert fault.one != fault.many, fault.name
        assert not set("{|}") & set(fault.one + fault.many), fault.name


def test_errors_say_what_to_do():
    without = [fault.name for fault in FAULTS if fault.severity == "error" and not fault.fix]
    assert without == ["split-unreadable"]  # it is told with the reason's own
    assert {fault.severity for fault in BAD_IMAGE} == {"error"}


def test_what_the_reader_assumes_or_leaves_out_is_told():
    readers = FAULTS[FAULTS.index(catalogue.BOX_MALFORMED) :]
    assert [fault.name for fault in readers if fault.severity != "error" and not fault.outcome] == []


def test_each_section_and_key_has_a_fault_of_its_own():
    made = [
        make(section, key)
        for make in (catalogue.without_key, catalogue.not_whole, catalogue.not_text)
        for section, keys in REQUIRED.items()
        for key in keys
    ]
    made += [make(section) for make in (catalogue.not_an_object, catalogue.duplicate_keys) for section in REQUIRED]
    made += [catalogue.unknown_reference(key) for key in ("image_id", "category_id")]
    assert len({fault.name for fault in made}) == len(made) == 35
    assert all(fault.severity == "error" and fault.fix for fault in made)
    assert "among the 'images'" in catalogue.unknown_reference("image_id").one
    assert "among the 'categories'" in catalogue.unknown_reference("category_id").one


def test_the_page_of_the_doctor_has_the_tables_of_the_catalogue():
    page = PAGE.read_text(encoding="utf-8").splitlines()
    told = [line for line in page if line.startswith(("| `", "### ")) and "| `doctor." not in line]
    tables = [line for line in as_markdown().splitlines() if line.startswith(("| `", "### "))]
    first = told.index(tables[0])
    assert told[first : first + len(tables)] == tables
