from __future__ import annotations

import numpy as np
import torch

from retina.doctor.cases import WIDTH, cases_of, gallery
from retina.doctor.detector_view import Lens
from retina.doctor.examine import examine


def test_boxes_in_question_are_shown_large(data):
    box = data.content["annotations"][0]
    data.content["annotations"].append({**box, "id": 7, "bbox": [4, 6, 20.5, 30]})
    cases = cases_of(examine(data.write().folder(), ["train"]))
    (case,) = cases["train", "box-near-duplicate"]
    assert "annotation 1001 and annotation 7" in case.caption
    (picture,) = case.pictures
    assert picture.dtype == np.uint8
    assert max(picture.shape) == WIDTH


def test_a_finding_of_an_annotation_shows_its_box(data):
    data.content["annotations"][2]["bbox"] = [50, 6, 30, 30]
    cases = cases_of(examine(data.write().folder(), ["train"]))
    (case,) = cases["train", "box-leaves-image"]
    assert case.caption.startswith("annotation 1101, image 11 'train_1.jpg'")


def test_copies_are_shown_side_by_side(data):
    (data.root / "val" / "val_0.jpg").write_bytes(data.image(3).read_bytes())
    (case,) = cases_of(examine(data.folder(), ["train", "val"]))["", "split-leak"]
    assert len(case.pictures) == 2
    assert case.caption == "train: image 13 'train_3.jpg'  |  val: image 50 'val_0.jpg' (the same content)"


def test_the_worst_objects_are_shown_first(data):
    lens = Lens(lambda h, w: (h, w), lambda boxes, canvas: boxes[:, 0] / 100, 100, 2)
    cases = cases_of(examine(data.folder(), ["train"], lens=lens))["train", "object-unreached"]
    assert len(cases) == 4
    assert "best anchor IoU 0.04" in cases[0].caption
    assert "image 10 'train_0.jpg'" in cases[0].caption


def test_images_that_cannot_be_read_have_no_picture_and_break_nothing(data):
    data.image(1).write_text("no image")
    data.content["annotations"][2]["bbox"] = [50, 6, 30, 30]
    lens = Lens(lambda h, w: (h, w), lambda boxes, canvas: torch.zeros(len(boxes)), 100, 2)
    examination = examine(data.write().folder(), ["train"], lens=lens)
    cases = cases_of(examination)
    assert ("train", "box-leaves-image") not in cases
    assert ("train", "image-undecodable") not in cases
    assert len(gallery(examination.splits["train"], 4)) == 3


def test_some_images_are_shown_spread_over_the_split(data):
    shown = gallery(examine(data.folder(), ["train"]).splits["train"], 2)
    assert [case.caption for case in shown] == ["image 10 'train_0.jpg'", "image 13 'train_3.jpg'"]
