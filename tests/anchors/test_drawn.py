from __future__ import annotations

import numpy as np

from retina.anchors.coverage import NetworkBoxes
from retina.anchors.drawn import images_to_draw
from retina.detection.assign import Assigner

NAMED = [("before", Assigner())]


def objects_in(images: list[int], num_images: int, bad: int) -> NetworkBoxes:
    """A box of 32 px on an anchor in each of the images; in the bad one it is a sliver."""
    boxes = np.tile(np.array([[48.0, 48, 80, 80]], dtype=np.float32), (len(images), 1))
    boxes[images.index(bad), 3] = 49
    return NetworkBoxes(boxes, np.array(images), np.full((num_images, 2), 128), np.zeros(len(images), int),
                        np.ones(len(images)))  # fmt: skip


def test_the_worst_image_comes_first_and_images_without_boxes_never():
    objects = objects_in([1, 2, 3, 5, 7, 8], 10, bad=5)
    chosen = images_to_draw(objects, NAMED, 4)
    assert chosen[0] == 5
    assert len(chosen) == len(set(chosen)) == 4
    assert {1, 8} & set(chosen), "others are spread over the set"
    assert set(images_to_draw(objects, NAMED, 30)) == {1, 2, 3, 5, 7, 8}


def test_no_image_is_drawn_where_none_is_asked_for():
    assert images_to_draw(objects_in([0], 1, bad=0), NAMED, 0) == []
