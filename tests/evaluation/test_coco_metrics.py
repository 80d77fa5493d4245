from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from retina.evaluation.coco_metrics import METRIC_NAMES, coco_metrics


def ground_truth(*boxes: list[float], crowds: tuple[list[float], ...] = ()) -> dict[str, Any]:
    """One image with boxes of one class."""
    annotations = [
        {"id": i, "image_id": 1, "category_id": 5, "bbox": box, "area": box[2] * box[3], "iscrowd": int(box in crowds)}
        for i, box in enumerate([*boxes, *crowds])
    ]
    images = [{"id": 1, "file_name": "a.jpg", "height": 100, "width": 100}]
    return {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "cell"}]}


def detection(box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 5, "bbox": box, "score": score}


def test_one_hit_and_one_miss_of_two_boxes_is_51_of_101_recall_steps():
    truth = ground_truth([0, 0, 40, 40], [50, 50, 40, 40])
    metrics = coco_metrics(truth, [detection([0, 0, 40, 40], 0.9), detection([50, 0, 20, 20], 0.8)])
    # Precision is 1 up to recall 0.5 and 0 beyond: recall steps 0.00 to 0.50 of 0.00 to 1.00.
    assert metrics["AP"] == pytest.approx(51 / 101)
    assert metrics["AR100"] == pytest.approx(0.5)


def test_a_false_alarm_before_the_hit_halves_the_precision():
    metrics = coco_metrics(
        ground_truth([0, 0, 40, 40]), [detection([50, 50, 40, 40], 0.9), detection([0, 0, 40, 40], 0.8)]
    )
    assert metrics["AP"] == pytest.approx(0.5)


def test_an_overlap_of_five_eighths_counts_at_three_of_ten_thresholds():
    metrics = coco_metrics(ground_truth([0, 0, 80, 80]), [detection([0, 0, 50, 80], 0.9)])
    assert (metrics["AP50"], metrics["AP75"]) == (pytest.approx(1), 0)
    assert metrics["AP"] == pytest.approx(0.3)  # 0.50, 0.55 and 0.60


def test_a_detection_in_a_crowd_is_no_false_alarm():
    detections = [detection([60, 60, 10, 10], 0.9), detection([0, 0, 40, 40], 0.8)]
    assert coco_metrics(ground_truth([0, 0, 40, 40]), detections)["AP"] == pytest.approx(0.5)
    with_crowd = ground_truth([0, 0, 40, 40], crowds=([50, 50, 50, 50],))
    assert coco_metrics(with_crowd, detections)["AP"] == pytest.approx(1)


def test_perfect_detections_give_one(instances, perfect):
    metrics = coco_metrics(instances, perfect)
    assert metrics["AP"] == metrics["AP50"] == metrics["AR100"] == pytest.approx(1)
    assert metrics["APl"] is None, "there is no large box"


def test_no_detections_give_zero(instances):
    metrics = coco_metrics(instances, [])
    assert (metrics["AP"], metrics["AR100"]) == (0, 0)
    assert metrics["APl"] is None


def test_nothing_to_find_gives_none_for_every_number(instances, perfect):
    empty = {**instances, "annotations": []}
    for detections in ([], perfect):
        metrics = coco_metrics(empty, detections)
        assert [metrics[name] for name in METRIC_NAMES] == [None] * 12


def test_classes_are_told_by_category_id_with_gaps(instances, perfect):
    classes = coco_metrics(instances, perfect[:1])["per_class"]
    assert [(entry["category_id"], entry["name"]) for entry in classes] == [(3, "cell"), (7, "größe"), (90, "никто")]
    assert [entry["AP"] for entry in classes] == [0, pytest.approx(1), None]
    assert [entry["num_boxes"] for entry in classes] == [2, 1, 0], "crowds are not counted"
    assert [entry["num_images"] for entry in classes] == [2, 1, 0]


@pytest.mark.parametrize("width", [45, 60, 70, 80])
def test_the_numbers_of_the_only_class_are_the_numbers_of_all(width):
    """The official twelve are means over the classes, so that one class alone has them itself."""
    metrics = coco_metrics(ground_truth([0, 0, 80, 80]), [detection([0, 0, width, 80], 0.9)])
    (only,) = metrics["per_class"]
    assert {name: only[name] for name in ("AP", "AP50", "AP75")} == {
        name: metrics[name] for name in ("AP", "AP50", "AP75")
    }


def test_the_order_of_images_and_of_detections_does_not_matter(instances, perfect):
    worse = [{**entry, "score": 0.5 + i / 10} for i, entry in enumerate(perfect[:2])]
    worse.append({"image_id": 12, "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.95})
    expected = coco_metrics(instances, worse)
    shuffled = copy.deepcopy(instances)
    for seed in range(5):
        for values in (shuffled["images"], shuffled["annotations"], worse):
            random.Random(seed).shuffle(values)
        assert coco_metrics(shuffled, worse) == expected


def test_the_arguments_stay_as_they_are_and_nothing_is_printed(instances, perfect, capsys):
    before = json.dumps([instances, perfect])
    coco_metrics(instances, perfect)
    assert json.dumps([instances, perfect]) == before
    assert capsys.readouterr().out == ""


def test_metrics_are_plain_json(instances, perfect):
    metrics = coco_metrics(instances, perfect)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert tuple(metrics)[:12] == METRIC_NAMES


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_detections_of_unknown_ids_are_refused(instances, perfect, key):
    with pytest.raises(ValueError, match=f"detections have {key} 1000, which the ground truth does not have"):
        coco_metrics(instances, [{**perfect[0], key: 1000}])
