"""Kinds that are made for a section and a key."""

from __future__ import annotations

from retina.data.coco import kinds as coco_kinds


def test_each_section_and_key_has_a_kind_of_its_own():
    made = [
        make(section, key)
        for make in (coco_kinds.without_key, coco_kinds.not_whole, coco_kinds.not_text)
        for section, keys in coco_kinds.REQUIRED.items()
        for key in keys
    ]
    made += [make(s) for make in (coco_kinds.not_an_object, coco_kinds.duplicate_keys) for s in coco_kinds.REQUIRED]
    made += [coco_kinds.unknown_reference(key) for key in ("image_id", "category_id")]
    assert len({kind.name for kind in made}) == len(made) == 35
    assert all(kind.severity == "error" and kind.fix for kind in made)


def test_a_reference_names_the_section_it_points_to():
    assert "among the 'images'" in coco_kinds.unknown_reference("image_id").one
    assert "among the 'categories'" in coco_kinds.unknown_reference("category_id").one
