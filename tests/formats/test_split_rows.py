from __future__ import annotations

import numpy as np

from retina.formats.split_rows import SplitRows

POLICIES = {"exif": "ignore", "on_bad_box": "clip", "on_bad_image": "skip"}


def _rows(order: tuple[str, ...] = ("b.jpg", "a.jpg")) -> SplitRows:
    rows = SplitRows("file")
    for name in order:
        image = rows.image(name, (10, 20))
        rows.add(image, "cat", [1, 2, 4, 6], number=7 if name == "a.jpg" else None)
    rows.add(rows.image("b.jpg"), "dog", [0, 0, 5, 5], ignored=True)
    return rows


def test_images_are_sorted_by_name_with_their_objects():
    found = _rows().annotations(["ant", "cat", "dog"], "/", **POLICIES)
    assert list(found.file_names) == ["a.jpg", "b.jpg"]
    assert found.image_ids.tolist() == [1, 2]
    assert found.labels.tolist() == [1, 1, 2]
    assert found.crowd.tolist() == [False, False, True]
    np.testing.assert_array_equal(found.boxes, [[1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 5, 5]])
    assert found.areas.tolist() == [12, 12, 25]
    assert str(found.object_place(0)) == "annotation 7, image 1 'a.jpg'"
    assert str(found.object_place(2)) == "annotation number 2, image 2 'b.jpg'"


def test_the_order_of_the_files_changes_nothing():
    first, second = (
        _rows(order).annotations(["cat", "dog"], "/", **POLICIES) for order in (("b.jpg", "a.jpg"), ("a.jpg", "b.jpg"))
    )
    for name in ("boxes", "labels", "offsets", "sizes", "image_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.fingerprint == second.fingerprint


def test_the_fingerprint_tells_another_content_and_other_classes():
    prints = set()
    for content, classes in ((b"a", ["cat", "dog"]), (b"b", ["cat", "dog"]), (b"a", ["dog", "cat"])):
        rows = _rows()
        rows.read(content)
        prints.add(rows.annotations(classes, "/", **POLICIES).fingerprint)
    assert len(prints) == 3


def test_a_split_without_images_and_a_set_without_classes_are_errors():
    found = SplitRows("file").annotations([], "/", **POLICIES)
    assert [finding.fault.name for finding in found.findings][:2] == ["no-images", "no-classes"]


def test_objects_of_images_that_are_left_out_go_with_them(tmp_path):
    rows = _rows()
    rows.add(rows.image("nowhere.jpg"), "cat", [0, 0, 1, 1])
    found = rows.annotations(["cat", "dog"], str(tmp_path), **POLICIES)
    assert len(found.boxes) == 3
    assert "objects in it: 1" in str(found.findings[0])
