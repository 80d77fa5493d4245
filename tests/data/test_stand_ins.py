"""Another image stands in for one that cannot be used: the same in every process, and it is said."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from retina.data.augment import Augment
from retina.data.bad_images import MAX_COUNT, StandIns
from retina.data.dataset import DetectionDataset
from retina.data.loader import AugmentedImages
from retina.data.samplers import SampleKey, epoch_order
from retina.errors import DataError
from retina.structures import BoxTargets, Sample


@pytest.fixture
def dataset(coco_folder) -> DetectionDataset:
    return DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="train")


class Numbered:
    """A data set of images that tell their number; those in ``bad`` cannot be read."""

    def __init__(self, num_images: int, bad: set[int]) -> None:
        self.num_images, self.bad, self.asked = num_images, bad, []

    def __len__(self) -> int:
        return self.num_images

    def sample(self, index, shrink=None) -> Sample:
        self.asked.append(index)
        if index in self.bad:
            raise DataError(f"image {index} cannot be decoded", why="damaged", fix="replace the file")
        return Sample(np.zeros((4, 4, 3), np.uint8), BoxTargets.empty(), index, (4, 4))


def test_the_next_of_the_epochs_order_stands_in_and_says_why():
    order = epoch_order(20, seed=3, epoch=5).tolist()
    bad = {order[4], order[5]}
    images = StandIns(Numbered(20, bad), seed=3, epoch=5)
    for position, index in enumerate(order):
        sample = images.sample(index)
        assert sample.image_id == (order[6] if position in (4, 5) else index)
    reasons = [f"image {order[4]} cannot be decoded", f"image {order[5]} cannot be decoded"]
    assert images.replaced == [*reasons, reasons[1]]
    assert images.sample(order[4]).replaced == tuple(reasons)
    assert images.sample(order[6]).replaced == ()


def test_after_the_last_of_the_order_comes_the_first():
    order = epoch_order(7, seed=0, epoch=2).tolist()
    assert StandIns(Numbered(7, {order[-1]}), seed=0, epoch=2).sample(order[-1]).image_id == order[0]


def test_another_epoch_has_another_stand_in():
    found = {StandIns(Numbered(40, {8}), seed=0, epoch=epoch).sample(8).image_id for epoch in range(20)}
    assert len(found) > 10
    assert 8 not in found


@pytest.mark.parametrize(("num_images", "tried"), [(1, 1), (4, 4), (200, 1 + MAX_COUNT)])
def test_where_no_image_can_be_used_the_first_one_is_told_and_the_search_ends(num_images, tried):
    numbered = Numbered(num_images, set(range(num_images)))
    with pytest.raises(
        DataError, match=rf"image 0 cannot be decoded; nor can the next {tried - 1} images be used"
    ) as caught:
        StandIns(numbered, seed=0, epoch=0).sample(0)
    assert len(set(numbered.asked)) == len(numbered.asked) == tried
    assert (caught.value.why, caught.value.fix) == ("damaged", "replace the file")


def damage(coco_folder, kind: str) -> None:
    path = coco_folder / "images" / "b.png"
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        cv2.imwrite(str(path), np.zeros((10, 10, 3), np.uint8))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "image 7 'b.png' cannot be read (No such file or directory)"),
        ("truncated", "image 7 'b.png' cannot be decoded"),
        ("empty", "image 7 'b.png' cannot be decoded"),
        ("another size", "image 7 'b.png' has 10 x 10 pixels, but 60 x 80 in"),
    ],
)
def test_every_way_to_be_bad_is_replaced(dataset, coco_folder, kind, told):
    damage(coco_folder, kind)
    augment = Augment([], short_side=64, long_side=96, seed=3)
    index = dataset.image_ids.tolist().index(7)
    sample = AugmentedImages(dataset, augment, on_bad_image="skip")[SampleKey(2, index)]
    order = epoch_order(6, seed=3, epoch=2).tolist()
    successor = order[(order.index(index) + 1) % 6]
    assert sample.image_id == dataset.image_ids[successor]
    assert len(sample.replaced) == 1
    assert sample.replaced[0].startswith(told)
    with pytest.raises(DataError, match="image 7 'b.png'"):
        AugmentedImages(dataset, augment)[SampleKey(2, index)]


def test_a_good_image_is_the_same_with_either_policy(dataset):
    augment = Augment([], short_side=64, long_side=96, seed=3)
    skip, error = (AugmentedImages(dataset, augment, on_bad_image=policy) for policy in ("skip", "error"))
    for index in range(6):
        one, other = skip[SampleKey(0, index)], error[SampleKey(0, index)]
        assert (one.image == other.image).all()
        assert one.replaced == other.replaced == ()


def test_a_partner_that_cannot_be_used_is_replaced_and_said_too(dataset, coco_folder):
    damage(coco_folder, "missing")
    bad = dataset.image_ids.tolist().index(7)

    class Both:
        """Reads an image and the bad one beside it, as a mosaic does."""

        seed, shrink = 3, None

        def __call__(self, key, images):
            images.sample(bad)
            return images.sample(key.index)

    images = AugmentedImages(dataset, Both(), on_bad_image="skip")
    for index in range(6):
        reasons = images[SampleKey(0, index)].replaced
        assert [reason[:15] for reason in reasons] == ["image 7 'b.png'"]
