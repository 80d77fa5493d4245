from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from retina.data.collate import Collate
from retina.structures import AnchorTargets, BoxTargets, Sample


class RecordingAssigner:
    """Stands in for the detection package: says what it was asked and answers with nothing positive."""

    def __call__(self, canvas, targets):
        self.canvas, self.targets = canvas, targets
        none = torch.zeros(0, dtype=torch.int64)
        return AnchorTargets(none, none, torch.zeros(0, 4), torch.zeros(0, 4), none)


def sample(height: int, width: int, image_id: int = 1) -> Sample:
    image = np.full((height, width, 3), image_id, dtype=np.uint8)
    boxes = torch.tensor([[0.0, 0.0, width, height]])
    return Sample(
        image, BoxTargets(boxes, torch.tensor([image_id]), torch.zeros(0, 4)), image_id, (height * 2, width * 2)
    )


def test_images_are_padded_with_zeros_at_the_right_and_at_the_bottom():
    batch = Collate(RecordingAssigner())([sample(40, 33, 1), sample(20, 70, 2)])
    assert batch.images.pixels.shape == (2, 3, 64, 96)
    assert batch.images.pixels.dtype == torch.uint8
    assert batch.images.sizes.tolist() == [[40, 33], [20, 70]]
    assert batch.images.sizes.dtype == torch.int64
    for pixels, (height, width), value in zip(batch.images.pixels, [(40, 33), (20, 70)], (1, 2), strict=True):
        assert (pixels[:, :height, :width] == value).all()
        assert pixels.sum() == 3 * height * width * value  # so the rest is zero


def test_pixels_are_channels_last_in_memory_and_in_the_images_order():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    batch = Collate(RecordingAssigner())([Sample(image, BoxTargets.empty(), 1, (32, 64))] * 2)
    assert batch.images.pixels.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.images.pixels[1].permute(1, 2, 0).numpy(), image)


def test_the_assigner_sees_the_canvas_and_every_images_targets():
    assigner = RecordingAssigner()
    batch = Collate(assigner)([sample(40, 33, 1), sample(20, 70, 2)])
    assert assigner.canvas == (64, 96)
    assert [targets.labels.tolist() for targets in assigner.targets] == [[1], [2]]
    assert batch.box_targets == assigner.targets
    assert batch.targets.num_positives == 0


def test_ids_and_stored_sizes_are_kept():
    batch = Collate(RecordingAssigner())([sample(40, 33, 7), sample(20, 70, 3)])
    assert batch.image_ids == [7, 3]
    assert batch.original_sizes == [(80, 66), (40, 140)]
    assert len(batch) == 2


def test_what_was_wrong_with_images_is_gathered():
    one, other = replace(sample(8, 8), replaced=("a", "b")), replace(sample(8, 8), replaced=("c",))
    assert Collate(RecordingAssigner())([one, sample(8, 8), other]).replaced == ["a", "b", "c"]


@pytest.mark.parametrize(("divisor", "canvas"), [(1, (40, 70)), (32, (64, 96)), (128, (128, 128))])
def test_sides_are_multiples_of_the_divisor(divisor, canvas):
    batch = Collate(RecordingAssigner(), size_divisor=divisor)([sample(40, 33), sample(20, 70)])
    assert tuple(batch.images.pixels.shape[2:]) == canvas


def test_an_image_of_whole_multiples_is_not_padded():
    assert Collate(RecordingAssigner())([sample(64, 96)]).images.pixels.shape == (1, 3, 64, 96)


def test_a_divisor_below_one_is_refused():
    with pytest.raises(ValueError, match="size_divisor must be at least 1, got 0"):
        Collate(RecordingAssigner(), size_divisor=0)
