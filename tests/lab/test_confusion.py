"""Three images by hand, and what must hold for any."""

from __future__ import annotations

import pytest
import torch

from retina.lab.confusion import KINDS, Confusion
from retina.structures import BoxTargets, Detections

CAT, DOG = 0, 1


def found(*rows: tuple[list[float], float, int]) -> Detections:
    """Detections (box, score, label), best first."""
    boxes = torch.tensor([box for box, _, _ in rows]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([s for _, s, _ in rows]), torch.tensor([n for _, _, n in rows]).long())


def truth(*rows: tuple[list[float], int], crowds: list[list[float]] | None = None) -> BoxTargets:
    boxes = torch.tensor([box for box, _ in rows]).reshape(-1, 4)
    crowd_boxes = torch.tensor(crowds or []).reshape(-1, 4)
    return BoxTargets(boxes, torch.tensor([label for _, label in rows]).long(), crowd_boxes)


LEFT, RIGHT, FAR = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [60.0, 60.0, 70.0, 70.0]


@pytest.fixture
def three_images() -> Confusion:
    confusion = Confusion(2, score_threshold=0.3)
    # Two cats: one found twice, the other taken for a dog; one false alarm far away.
    confusion.add(
        found((LEFT, 0.9, CAT), ([0.0, 0.0, 10.0, 9.0], 0.8, CAT), (RIGHT, 0.7, DOG), (FAR, 0.5, DOG)),
        truth((LEFT, CAT), (RIGHT, CAT)),
    )
    # A dog found too faintly, a poorly placed cat (IoU 1/3), and two detections in a crowd.
    confusion.add(
        found(([25.0, 0.0, 35.0, 10.0], 0.6, CAT), (FAR, 0.6, CAT), (LEFT, 0.2, DOG), (FAR, 0.1, DOG)),
        truth((LEFT, DOG), (RIGHT, CAT), crowds=[[50.0, 50.0, 80.0, 80.0]]),
    )
    confusion.add(found(), truth())
    return confusion


def test_three_images_by_hand(three_images) -> None:
    # Rows cat, dog, background; columns cat, dog, missed.
    assert three_images.matrix.tolist() == [[1, 1, 1], [0, 0, 1], [2, 1, 0]]
    assert dict(three_images.kinds) == {
        "correct": 1, "duplicate": 1, "wrong class": 1, "background": 1, "poorly placed": 1, "missed": 2,
    }  # fmt: skip
    assert set(three_images.kinds) <= set(KINDS)
    assert three_images.in_crowds == 1, "the faint one in the crowd is below the threshold"
    assert three_images.most_confused() == [(CAT, DOG, 1)]


def test_every_object_and_every_strong_detection_outside_of_crowds_is_counted_once(three_images) -> None:
    matrix = three_images.matrix
    assert matrix[:-1].sum() == three_images.num_objects == 4
    assert matrix[:, :-1].sum() == 4 + 2 - 1
    assert sum(three_images.kinds.values()) == matrix[:, :-1].sum() + matrix[:, -1].sum()


def test_precision_and_recall_by_hand(three_images) -> None:
    table = three_images.precision_recall(11)
    at = {round(t, 1): i for i, t in enumerate(table["threshold"])}
    # Right are LEFT of the first image (0.9) and the faint dog (0.2); of 4 objects. 0.8 in float32 is above 0.8.
    assert (table["precision"][at[0.8]], table["recall"][at[0.8]]) == (0.5, 0.25)
    assert table["precision"][at[0.0]] == pytest.approx(2 / 6)
    assert table["recall"][at[0.0]] == 0.5
    assert table["f1"][at[0.0]] == pytest.approx(2 * 2 / (6 + 4))
    assert table["precision"][at[1.0]] is None


def test_an_object_is_not_given_to_another_class_while_its_own_has_found_it() -> None:
    confusion = Confusion(2)
    nearer = [0.0, 0.0, 10.0, 9.5]
    confusion.add(found((nearer, 0.9, DOG), ([0.0, 0.0, 10.0, 7.0], 0.8, CAT)), truth((LEFT, CAT)))
    assert confusion.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert dict(confusion.kinds) == {"wrong class": 1, "correct": 1, "missed": 0}


def test_without_objects_and_detections_nothing_is_counted() -> None:
    confusion = Confusion(2)
    confusion.add(found(), truth())
    assert confusion.matrix.sum() == 0
    table = confusion.precision_recall()
    assert set(table["recall"]) == set(table["f1"]) == {None}
    confusion.add(found((LEFT, 0.9, CAT)), truth())
    assert confusion.matrix.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_duplicate_does_not_take_the_neighbour() -> None:
    confusion = Confusion(1)
    confusion.add(
        found((LEFT, 0.9, 0), (LEFT, 0.8, 0)), truth((LEFT, 0), ([2.0, 0.0, 12.0, 10.0], 0))
    )  # the second one overlaps the neighbour by 2/3 and finds it, as in COCO
    assert confusion.matrix.tolist() == [[2, 0], [0, 0]]


def test_recall_agrees_with_pycocotools_at_its_threshold() -> None:
    from retina.evaluation.coco_metrics import coco_metrics

    generator = torch.Generator().manual_seed(4)
    confusion, images, annotations, results = Confusion(3), [], [], []
    for image_id in range(1, 13):
        corner = 80 * torch.rand(6, 2, generator=generator)
        boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(6, 2, generator=generator)], dim=1)
        labels = torch.randint(3, (6,), generator=generator)
        moved = boxes + 4 * torch.randn(6, 4, generator=generator)
        scores = torch.rand(6, generator=generator).sort(descending=True).values
        guessed = torch.where(torch.rand(6, generator=generator) < 0.8, labels, (labels + 1) % 3)
        confusion.add(Detections(moved, scores, guessed), BoxTargets(boxes, labels, torch.zeros(0, 4)))
        images.append({"id": image_id, "height": 200, "width": 200})
        sizes = [torch.cat([part[:, :2], part[:, 2:] - part[:, :2]], dim=1).tolist() for part in (boxes, moved)]
        annotations += [{"image_id": image_id, "category_id": int(k) + 1, "bbox": box}
                        for k, box in zip(labels, sizes[0], strict=True)]  # fmt: skip
        results += [{"image_id": image_id, "category_id": int(k) + 1, "bbox": box, "score": float(s)}
                    for k, box, s in zip(guessed, sizes[1], scores, strict=True)]  # fmt: skip
    categories = [{"id": k, "name": str(k)} for k in (1, 2, 3)]
    from pycocotools.cocoeval import COCOeval

    seen = []
    original = COCOeval.accumulate

    def keep(self, p=None) -> None:
        original(self, p)
        seen.append(self.evalImgs)

    COCOeval.accumulate = keep
    try:
        coco_metrics({"images": images, "annotations": annotations, "categories": categories}, results)
    finally:
        COCOeval.accumulate = original
    # All areas come first in each class's list; IoU 0.5 is the first threshold.
    matched = sum(int((entry["dtMatches"][0] > 0).sum()) for entry in seen[0]
                  if entry is not None and entry["aRng"] == [0, 1e10])  # fmt: skip
    table = confusion.precision_recall()
    assert matched > 20
    assert table["recall"][0] == pytest.approx(matched / len(annotations))
