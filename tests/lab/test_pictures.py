"""Every picture has a name, a title and words that say how to read it."""

from __future__ import annotations

from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.lab.collection import LossFamily, box_collection, class_collection
from retina.lab.pictures import curve_pictures, finding_pictures
from tests.lab.test_findings import empty


def test_names_differ_and_captions_say_more_than_titles(few_points) -> None:
    classes = class_collection([LossFamily("focal", {"gamma": 2.0}, FocalLoss)])
    boxes = box_collection([LossFamily("l1", {}, L1Loss)])
    pictures = [*curve_pictures(classes, boxes), *finding_pictures(empty().as_plain())]
    names = [picture.name for picture in pictures]
    assert names[:4] == ["focal", "classification", "focus", "box_codes"], "those without a curve are left out"
    assert len(set(names)) == len(names) == 12
    assert all(name.isidentifier() for name in names)
    assert all(len(picture.caption) > 2 * len(picture.title) for picture in pictures)
