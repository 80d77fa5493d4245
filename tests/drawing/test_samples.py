from __future__ import annotations

import cv2
import numpy as np
import torch

from retina.data.dataset import DetectionDataset
from retina.drawing.samples import batch_pictures, evaluation_pictures, spread_indices
from retina.evaluation.evaluate import Evaluation
from retina.structures import AnchorTargets, Batch, BoxTargets, Detections, ImageBatch


def found(*scores: float) -> Detections:
    boxes = torch.tensor([[20.0, 30.0, 60.0, 50.0]]).repeat(len(scores), 1)
    return Detections(boxes, torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64))


def test_indices_are_spread_over_the_preferred_ones_and_filled_up_with_the_others():
    preferred = np.array([False, True, True, False, True, True, True])
    assert spread_indices(preferred, 3) == [1, 4, 6]
    assert spread_indices(preferred, 6) == [1, 2, 4, 5, 6, 0]
    assert spread_indices(preferred, 100) == [1, 2, 4, 5, 6, 0, 3]
    assert spread_indices(preferred, 0) == []


def test_the_first_batch_is_drawn_as_the_network_sees_it():
    pixels = torch.zeros(1, 64, 96, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = BoxTargets(torch.tensor([[10.0, 10.0, 40.0, 40.0]]), torch.tensor([0]), torch.zeros(0, 4))
    none = torch.zeros(0, dtype=torch.int64)
    anchor_targets = AnchorTargets(none, none, torch.zeros(0, 4), torch.zeros(0, 4), none)
    batch = Batch(ImageBatch(pixels, torch.tensor([[60, 90]])), anchor_targets, [1], [(60, 90)], [targets])
    (picture,) = batch_pictures(batch, ["thing"])
    assert picture.shape == (64, 96, 3), "the padding is shown too"
    assert picture[10:40, 10].any(), "the left edge of the box is drawn"
    assert not pixels.any(), "drawing does not change the batch"


def test_pictures_of_an_evaluation_are_always_of_the_same_images(tmp_path, annotations_file, instances):
    for entry in instances["images"]:
        grey = np.full((entry["height"], entry["width"], 3), entry["id"], dtype=np.uint8)
        cv2.imwrite(str(tmp_path / entry["file_name"]), grey)
    dataset = DetectionDataset(tmp_path, annotations_file, name="tiny", split="val")
    with torch.inference_mode():  # as an evaluation makes them
        detections = {entry["id"]: found(0.9, 0.1) for entry in instances["images"]}
    evaluation = Evaluation({}, [], detections)
    pictures = evaluation_pictures(evaluation, dataset=dataset, count=2)
    assert [picture.shape[1] > 2 * 2 * width for picture, width in zip(pictures, (150, 60), strict=True)] == [True] * 2
    assert (pictures[0] == evaluation_pictures(evaluation, dataset=dataset, count=2)[0]).all()
    assert len(evaluation_pictures(evaluation, dataset=dataset, count=10)) == 3
    assert evaluation_pictures(evaluation, dataset=dataset, count=0) == []
