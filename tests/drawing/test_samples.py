from __future__ import annotations

import cv2
import numpy as np
import torch

from retina.data.dataset import DetectionDataset
from retina.drawing.colours import class_color
from retina.drawing.samples import (
    batch_pictures,
    evaluation_pictures,
    ground_truth_beside_detections,
    spread_indices,
)
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
    pictures = evaluation_pictures(detections, dataset=dataset, count=2)
    assert [picture.shape[1] > 2 * 2 * width for picture, width in zip(pictures, (150, 60), strict=True)] == [True] * 2
    assert (pictures[0] == evaluation_pictures(detections, dataset=dataset, count=2)[0]).all()
    assert len(evaluation_pictures(detections, dataset=dataset, count=10)) == 3
    assert evaluation_pictures(detections, dataset=dataset, count=0) == []


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


def test_two_panels_show_each_its_own_boxes():
    image = np.full((450, 500, 3), 90, dtype=np.uint8)
    seen = Detections(torch.tensor([[20.0, 60, 90, 140]]), torch.tensor([0.9]), torch.tensor([1]))
    targets = BoxTargets(torch.tensor([[20.0, 60, 90, 140]]), torch.tensor([0]), torch.tensor([[100.0, 100, 200, 200]]))
    picture = ground_truth_beside_detections(image, targets, seen, ("cat", "dog"))
    left, right = picture[:, :500], picture[:, -500:]
    assert has_color(left, class_color(0))
    assert not has_color(left, class_color(1))
    assert has_color(right, class_color(1))
    assert not has_color(right, class_color(0))
    assert picture.shape[0] > 450, "captions stand above the image"
    assert picture.shape[1] > 1000


def test_small_images_are_shown_at_twice_their_size():
    image = np.full((200, 256, 3), 90, dtype=np.uint8)
    seen = Detections(torch.tensor([[20.0, 60, 90, 140]]), torch.tensor([0.9]), torch.tensor([1]))
    picture = ground_truth_beside_detections(image, BoxTargets.empty(), seen, ("cat", "dog"))
    assert picture.shape[1] > 2 * 512
    panel = picture[-400:, -512:]
    assert tuple(panel[200, 2 * 20]) == class_color(1), "the box grew with the image"
