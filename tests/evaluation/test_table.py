from __future__ import annotations

from retina.evaluation.coco_metrics import coco_metrics
from retina.evaluation.table import format_metrics


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
