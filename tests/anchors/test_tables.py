from __future__ import annotations

import re

from retina.anchors.tables import format_comparison, format_coverage, legend


def row(name: str, boxes: int = 10, **figures) -> dict:
    found = {"reached": 0.75, "between": 0.2, "below": 0.05, "mean_iou": 0.61234, "positives_per_box": 3.44, "lost": 2}
    if not boxes:
        found = dict.fromkeys(found) | {"lost": 0}
    return {"name": name, "boxes": boxes, **found, **figures}


def report(classes: list[dict]) -> dict:
    sizes = [row("small"), row("medium", 0), row("large")]
    level = {"stride": 8, "least_side": 22.6, "greatest_side": 71.8, "best_of_boxes": 7, "positives": 34, "share": 1.0}
    return {"all": row("all"), "classes": classes, "sizes_original": sizes, "sizes_network": sizes, "levels": [level]}


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_worst_class_comes_first_and_those_without_boxes_are_left_out():
    text = format_coverage("train", report([row("good", mean_iou=0.9), row("bad", mean_iou=0.1), row("none", 0)]))
    names = [line.split()[0] for line in text.split("\n\n")[1].splitlines()[2:]]
    assert names == ["bad", "good"]


def test_more_classes_than_fit_are_counted():
    text = format_coverage("train", report([row(f"class{i}") for i in range(30)]), max_classes=4)
    assert "... 26 more classes in anchors_report.json" in text
    assert "class3 " in text
    assert "class4 " not in text


def test_a_line_holds_the_figures_in_the_order_of_the_columns():
    lines = format_coverage("train: present anchors", report([row("cat")])).splitlines()
    assert lines[0] == "train: present anchors"
    assert cells(lines[1]) == ["objects", "boxes", "reached", "between", "below", "mean IoU", "positives", "lost"]
    assert cells(lines[3]) == ["all", "10", "75.0 %", "20.0 %", "5.0 %", "0.612", "3.4", "2"]
    assert cells(lines[5]) == ["medium (annotated area)", "0", "-", "-", "-", "-", "-", "0"]
    assert cells(lines[-1]) == ["stride 8", "23-72", "7", "34", "100.0 %"]


def test_nearly_all_and_nearly_none_do_not_look_like_all_and_none():
    almost = row("all", reached=0.9999, between=0.0001, below=0.0)
    text = format_comparison([("val after", {"all": almost})])
    assert cells(text.splitlines()[-1])[2:5] == ["> 99.9 %", "< 0.1 %", "0.0 %"]


def test_a_name_that_would_break_the_line_is_shown_without_it():
    assert "a?b" in format_coverage("train", report([row("a\nb")]))


def test_the_legend_names_the_thresholds():
    assert "0.5 or more; between: 0.4 or more" in legend(0.5, 0.4)
