from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from retina.structures import AnchorTargets, Batch, BoxTargets, Detections, ImageBatch, Predictions


def anchor_targets() -> AnchorTargets:
    return AnchorTargets(
        positive_index=torch.tensor([3, 8]),
        positive_labels=torch.tensor([1, 0]),
        positive_boxes=torch.rand(2, 4),
        positive_anchors=torch.rand(2, 4),
        ignored_index=torch.tensor([5]),
    )


def two_images() -> Batch:
    return Batch(
        images=ImageBatch(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([[8, 8], [6, 7]])),
        targets=anchor_targets(),
        image_ids=[7, 9],
        original_sizes=[(80, 80), (60, 70)],
        box_targets=[BoxTargets(torch.rand(1, 4), torch.tensor([1]), torch.zeros(0, 4)), BoxTargets.empty()],
    )


def test_moving_a_batch_moves_every_tensor_but_the_pictures_ground_truth():
    moved = two_images().to(torch.device("meta"))
    for tensor in (moved.images.pixels, moved.images.sizes, moved.targets.positive_index, moved.targets.ignored_index):
        assert tensor.device.type == "meta"
    assert moved.box_targets[0].boxes.device.type == "cpu"
    assert moved.image_ids == [7, 9]
    assert moved.original_sizes == [(80, 80), (60, 70)]


def test_moving_leaves_the_original_where_it_was():
    batch = two_images()
    batch.to(torch.device("meta"))
    assert batch.images.pixels.device.type == "cpu"


def test_the_loaders_pinning_thread_pins_the_tensors_of_a_batch(monkeypatch):
    # Page-locked memory needs a GPU; a mark on the tensors shows that torch's own pinning finds them.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = two_images()
    pinned = pin_memory(batch)
    torch.testing.assert_close(pinned.images.pixels, batch.images.pixels + 1)
    torch.testing.assert_close(pinned.targets.positive_index, batch.targets.positive_index + 1)
    torch.testing.assert_close(pinned.targets.positive_boxes, batch.targets.positive_boxes + 1)


def test_a_batch_survives_the_way_out_of_a_worker():
    batch = two_images()
    copy = pickle.loads(pickle.dumps(batch))
    torch.testing.assert_close(copy.targets.positive_boxes, batch.targets.positive_boxes)
    torch.testing.assert_close(copy.box_targets[0].boxes, batch.box_targets[0].boxes)
    assert copy.original_sizes == batch.original_sizes


def test_lengths_count_images_and_objects():
    batch = two_images()
    assert len(batch) == len(batch.images) == 2
    assert len(Detections(torch.zeros(5, 4), torch.zeros(5), torch.zeros(5, dtype=torch.int64))) == 5


def test_boxes_are_wanted_at_the_positive_anchors():
    targets = anchor_targets()
    assert targets.num_positives == 2
    assert targets.box_cells.anchor_index is targets.positive_index


def test_an_image_without_objects_has_targets_of_the_usual_shapes_and_types():
    empty = BoxTargets.empty()
    assert (empty.boxes.shape, empty.labels.shape, empty.crowd_boxes.shape) == ((0, 4), (0,), (0, 4))
    assert (empty.boxes.dtype, empty.labels.dtype) == (torch.float32, torch.int64)


def test_values_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        two_images().images.pixels = torch.zeros(1)


@pytest.mark.parametrize(
    ("boxes", "labels", "crowd_boxes", "message"),
    [
        ((2, 5), (2,), (0, 4), r"boxes must have shape \(N, 4\), got \(2, 5\)"),
        ((4,), (1,), (0, 4), r"boxes must have shape \(N, 4\), got \(4,\)"),
        ((2, 4), (3,), (0, 4), r"labels must have shape \(2,\) to match boxes, got \(3,\)"),
        ((2, 4), (2, 1), (0, 4), r"labels must have shape \(2,\) to match boxes, got \(2, 1\)"),
        ((2, 4), (2,), (4,), r"crowd_boxes must have shape \(N, 4\), got \(4,\)"),
    ],
)
def test_ground_truth_of_a_wrong_shape_names_the_field_that_disagrees(boxes, labels, crowd_boxes, message):
    with pytest.raises(ValueError, match=message):
        BoxTargets(torch.zeros(boxes), torch.zeros(labels, dtype=torch.int64), torch.zeros(crowd_boxes))


def test_deltas_of_another_number_of_anchors_are_refused_naming_both():
    with pytest.raises(ValueError, match="got deltas of 2 anchors for 3 wanted anchors"):
        Predictions(torch.zeros(1, 6, 3), torch.zeros(2, 4), [(2, 3)], torch.arange(3))
    with pytest.raises(ValueError, match=r"got \(2, 6, 3\) and \(2, 7, 4\)"):
        Predictions(torch.zeros(2, 6, 3), torch.zeros(2, 7, 4), [(2, 3)])


def test_deltas_are_found_by_the_number_of_their_anchor_in_the_batch():
    dense = Predictions(torch.zeros(2, 6, 3), torch.arange(48.0).view(2, 6, 4), [(2, 3)])
    computed = torch.tensor([1, 4, 7, 11])
    sparse = Predictions(dense.logits, dense.deltas_of(computed), dense.grid_sizes, computed)
    assert dense.deltas_of(torch.tensor([7]))[0].tolist() == dense.deltas[1, 1].tolist()
    for wanted in ([1, 4, 7, 11], [4, 4, 11], [7], []):
        index = torch.tensor(wanted, dtype=torch.int64)
        assert torch.equal(sparse.deltas_of(index), dense.deltas_of(index))
