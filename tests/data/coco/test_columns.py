"""Columns filled batch by batch: the quick way and the way record by record give the same."""

from __future__ import annotations

import numpy as np
import pytest

from retina.data.annotations import NO_ID
from retina.data.coco import columns as coco_columns
from retina.data.coco.columns import CocoColumns

ANNOTATIONS = [
    {"id": n, "image_id": n % 3, "category_id": 1 + n % 2, "bbox": [n, 1.5, 4, 5], "area": 20, "iscrowd": n % 2}
    for n in range(6)
]
IMAGES = [{"id": n, "file_name": f"{n}.jpg", "height": 10 + n, "width": 20} for n in range(3)]


def columns(images=IMAGES, annotations=ANNOTATIONS, *, batch: int = 2) -> CocoColumns:
    found = CocoColumns()
    for section, records in (("images", images), ("annotations", annotations)):
        for first in range(0, len(records), batch):
            found.add(section, records[first : first + batch])
    return found


def joined(found: CocoColumns) -> dict[str, np.ndarray]:
    names = ("image_ids", "sizes", "object_ids", "image_of", "category_of", "boxes", "areas", "crowd")
    return {name: np.concatenate(getattr(found, name)) for name in names}


def test_both_ways_give_the_same(monkeypatch):
    quick = columns()
    monkeypatch.setattr(coco_columns, "_annotation_columns", lambda _: {}["no"])
    slow = columns()
    assert quick.problems == slow.problems == {}
    for name, column in joined(quick).items():
        np.testing.assert_array_equal(column, joined(slow)[name], err_msg=name)
        assert column.dtype == joined(slow)[name].dtype, name


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_problems_are_told_by_the_number_in_the_section_whatever_the_batch(batch):
    wrong = [dict(record) for record in ANNOTATIONS]
    wrong[4]["category_id"] = "1"
    found = columns(annotations=wrong, batch=batch)
    ((kind, (count, places)),) = found.problems.items()
    assert (kind.name, count, places[0].number, places[0].found) == (
        "annotations-category_id-not-whole", 1, 4, "found '1'",
    )  # fmt: skip
    assert joined(found)["object_ids"].tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("value", [True, 1.0, 2**64, None, "1"])
def test_what_numpy_would_convert_is_still_looked_at(value):
    for key in ("image_id", "category_id"):
        wrong = [{**ANNOTATIONS[0], key: value}, *ANNOTATIONS[1:]]
        assert len(columns(annotations=wrong).problems) == 1, key
    assert len(columns(annotations=[{**ANNOTATIONS[0], "bbox": [0, 1, 2, "3"]}]).problems) == 1
    assert len(columns(images=[{**IMAGES[0], "width": value}]).problems) == 1


def test_an_annotation_without_an_id_stands_for_itself_by_its_number():
    without = [*ANNOTATIONS[:3], {k: v for k, v in ANNOTATIONS[3].items() if k != "id"}]
    assert joined(columns(annotations=without))["object_ids"].tolist() == [0, 1, 2, NO_ID + 3]


def test_five_places_are_kept_and_all_are_counted():
    found = columns(annotations=[{**record, "bbox": None} for record in ANNOTATIONS])
    ((_, (count, places)),) = found.problems.items()
    assert (count, len(places)) == (6, 5)
    assert places[0].record == {"id": 0, "image_id": 0}
    assert joined(found)["boxes"].shape == (0, 4)
