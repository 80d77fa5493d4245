from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from retina.errors import ConfigError, DataError
from retina.evaluation.coco_metrics import METRIC_NAMES, coco_metrics
from retina.evaluation.results import format_metrics, write_evaluation
from retina.evaluation.results_file import evaluate_detections_file

OFFICIAL = (
    0.5045806987249628,
    0.6969727247299577,
    0.5729816669904824,
    0.5856257209410443,
    0.5193996948036719,
    0.5013978986347466,
    0.38681277964578054,
    0.5936795762842003,
    0.595352982877607,
    0.6398109626113442,
    0.5664205978994309,
    0.5642905982905982,
)


@pytest.fixture
def results_file(tmp_path: Path):
    def write(content: Any) -> Path:
        path = tmp_path / "results.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def test_the_official_numbers_of_the_coco_api_come_out(shared_data: Path):
    folder = shared_data / "cocoeval100"
    metrics = evaluate_detections_file(
        folder / "instances_val2014_fakebbox100_results.json", folder / "instances_val2014_100.json"
    )
    assert [metrics[name] for name in METRIC_NAMES] == pytest.approx(OFFICIAL, abs=1e-9, rel=0)
    assert len(metrics["per_class"]) == 80
    assert sum(entry["num_boxes"] for entry in metrics["per_class"]) == 839 - 9
    known = [entry["AP"] for entry in metrics["per_class"] if entry["AP"] is not None]
    assert sum(known) / len(known) == pytest.approx(metrics["AP"], abs=1e-12)


def test_a_results_file_of_the_ground_truth_has_ap_one(results_file, annotations_file, perfect):
    assert evaluate_detections_file(results_file(perfect), annotations_file)["AP"] == pytest.approx(1)


def test_an_empty_list_has_ap_zero(results_file, annotations_file):
    assert evaluate_detections_file(results_file([]), annotations_file)["AP"] == 0


def test_what_is_written_is_read_again(tmp_path, annotations_file, results_file, perfect):
    metrics = evaluate_detections_file(results_file(perfect), annotations_file)
    folder = tmp_path / "eval" / "val"
    write_evaluation(folder, metrics=metrics, results=perfect)
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert evaluate_detections_file(folder / "detections.json", annotations_file) == metrics
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "detections.json"}


def test_a_loss_that_is_not_finite_is_written_as_null(tmp_path):
    write_evaluation(tmp_path, metrics={"AP": 0.25, "loss": math.nan})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"AP": 0.25, "loss": None}


def test_a_missing_file_is_named(tmp_path, annotations_file):
    with pytest.raises(ConfigError, match=r"no such file: .*nothing\.json"):
        evaluate_detections_file(tmp_path / "nothing.json", annotations_file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"not a JSON file: .*results\.json"),
        (
            {"images": [], "annotations": []},
            r"not a list of detections, but an object with the keys images, annotations",
        ),
        ([17], r"1 of 1 detections cannot be used: .*results\.json \[entry 0 is not an object but 17\]"),
        ([{"image_id": 30, "score": 1.0}], r"entry 0 has no category_id and no bbox"),
        ([{"image_id": 30, "category_id": 3, "bbox": [1, 2, 3], "score": 1.0}], r"entry 0 has the bbox \[1, 2, 3\]"),
        ([{"image_id": 30, "category_id": 3, "bbox": [1, 2, -3, 4], "score": 1.0}], r"negative width or height"),
        ([{"image_id": 30, "category_id": 3, "bbox": [1, 2, 3, 4], "score": math.nan}], r"has the score nan"),
        ([{"image_id": 30, "category_id": 3, "bbox": [1, 2, 3, math.inf], "score": 1}], r"not four finite numbers"),
        ([{"image_id": 30, "category_id": 3, "bbox": [1, 2, 3, 4], "score": "high"}], r"has the score 'high'"),
        ([{"image_id": "30", "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}], r"the image_id '30', not a whole"),
    ],
)
def test_entries_that_cannot_be_used_are_told(results_file, annotations_file, content, message):
    with pytest.raises(DataError, match=message):
        evaluate_detections_file(results_file(content), annotations_file)


def test_wrong_category_ids_do_not_end_as_ap_zero(results_file, annotations_file, perfect):
    wrong = [{**perfect[0], "category_id": category_id} for category_id in range(8)]
    with pytest.raises(DataError) as caught:
        evaluate_detections_file(results_file(wrong), annotations_file)
    assert "the category_id of 6 of 8 detections is not in the annotations" in caught.value.what
    assert "category_id 0 (entry 0), category_id 1 (entry 1), category_id 2 (entry 2)" in caught.value.what
    assert "(6 in all)" in caught.value.what
    assert caught.value.why.endswith("the annotations have 3, 7, 90")


def test_detections_on_unknown_images_are_told(results_file, annotations_file, perfect):
    with pytest.raises(DataError, match=r"the image_id of 1 of 3 detections is not in .* \[image_id 99 \(entry 2\)\]"):
        evaluate_detections_file(results_file([*perfect[:2], {**perfect[2], "image_id": 99}]), annotations_file)


# The table


def test_the_twelve_numbers_stand_in_two_rows_under_their_names(instances, perfect):
    lines = format_metrics(coco_metrics(instances, perfect)).splitlines()
    assert lines[0].split() == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert lines[1].split() == ["1.0000"] * 5 + ["-"], "a dash where there is nothing to measure"
    assert lines[3].split() == ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    assert len(lines[4].split()) == 6


def test_classes_are_ranked_by_ap_and_those_without_boxes_come_last(instances, perfect):
    lines = format_metrics(coco_metrics(instances, perfect[:1])).splitlines()[-4:]
    assert lines[0].split() == ["class", "AP", "AP50", "AP75", "boxes", "images"]
    assert [line.split()[0] for line in lines[1:]] == ["größe", "cell", "никто"]
    assert lines[3].split()[1:] == ["-", "-", "-", "0", "0"]


def test_many_classes_are_cut_and_counted(instances, perfect):
    text = format_metrics(coco_metrics(instances, perfect), max_classes=2)
    assert text.splitlines()[-1] == "... 1 more in metrics.json"


def test_losses_stand_there_when_they_were_computed(instances, perfect):
    metrics = coco_metrics(instances, perfect)
    assert "loss" not in format_metrics(metrics)
    text = format_metrics({**metrics, "loss": 0.75, "loss_classification": 0.5, "loss_box": 0.25})
    assert "loss 0.7500   loss_classification 0.5000   loss_box 0.2500" in text


def test_columns_stay_aligned_with_letters_two_columns_wide(instances, perfect):
    instances["categories"][0]["name"] = "血小板"
    lines = format_metrics(coco_metrics(instances, perfect)).splitlines()[-3:]
    # Three wide letters take six columns but three characters.
    ends = {line.split()[0]: len(line) for line in lines}
    assert ends["血小板"] + 3 == ends["größe"]


def test_control_characters_of_a_name_do_not_reach_the_terminal(instances, perfect):
    instances["categories"][0]["name"] = "red\x1b[2Jcell\n"
    assert "red?[2Jcell?" in format_metrics(coco_metrics(instances, perfect))
