from __future__ import annotations

import re

import numpy as np
import pytest

from retina.anchors.coverage import Coverage, NetworkBoxes, measure_coverage
from retina.anchors.report import coverage_report, format_comparison, format_coverage, legend
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner

NAMES = ("cat", "dog", "never")


@pytest.fixture
def objects() -> NetworkBoxes:
    sides = np.array([[10.0, 10], [20, 20], [50, 50], [200, 100]])
    boxes = np.concatenate([np.full((4, 2), 8.0), 8 + sides], axis=1).astype(np.float32)
    areas = np.array([1023.9, 1024, 9215.9, 9216])
    return NetworkBoxes(boxes, np.array([0, 0, 1, 1]), np.array([[256, 256]] * 2), np.array([0, 0, 0, 1]), areas)


@pytest.fixture
def coverage() -> Coverage:
    of_shape = np.zeros(45, dtype=np.int64)
    of_shape[[0, 9, 10]] = [1, 3, 6]
    iou = np.array([0.2, 0.4, 0.5, 0.9], dtype=np.float32)
    return Coverage(iou, np.array([0, 0, 9, 10]), np.array([0, 1, 3, 6]), of_shape)


def test_figures_are_counted_by_hand(coverage, objects):
    report = coverage_report(coverage, objects, NAMES, Assigner())
    assert report["all"] == {
        "name": "all", "boxes": 4, "reached": 0.5, "between": 0.25, "below": 0.25,
        "mean_iou": pytest.approx(0.5), "positives_per_box": 2.5, "lost": 1,
    }  # fmt: skip
    cat, dog, never = report["classes"]
    assert (cat["boxes"], cat["reached"], cat["lost"]) == (3, pytest.approx(1 / 3), 1)
    assert (dog["boxes"], dog["reached"], dog["positives_per_box"]) == (1, 1.0, 6.0)
    assert (never["boxes"], never["reached"], never["mean_iou"]) == (0, None, None)


def test_sizes_are_those_of_coco_by_annotated_area_and_by_pixels_of_the_network(coverage, objects):
    report = coverage_report(coverage, objects, NAMES, Assigner())
    assert [(row["name"], row["boxes"]) for row in report["sizes_original"]] == [
        ("small", 1), ("medium", 2), ("large", 1)]  # fmt: skip
    assert [row["boxes"] for row in report["sizes_network"]] == [2, 1, 1]


def test_levels_and_shapes_share_the_positives(coverage, objects):
    report = coverage_report(coverage, objects, NAMES, Assigner())
    assert [(row["stride"], row["positives"], row["share"]) for row in report["levels"]] == [
        (8, 1, 0.1), (16, 9, pytest.approx(0.9)), (32, 0, 0.0), (64, 0, 0.0), (128, 0, 0.0)]  # fmt: skip
    assert [row["best_of_boxes"] for row in report["levels"]] == [2, 2, 0, 0, 0]
    assert len(report["shapes"]) == 45
    first = report["shapes"][0]
    assert (first["width"], first["height"]) == (pytest.approx(32 * 2**0.5), pytest.approx(32 / 2**0.5))
    assert report["levels"][0]["greatest_side"] == pytest.approx(32 * 2 ** (2 / 3) * 2**0.5)


def test_thresholds_are_those_of_the_assigner(coverage, objects):
    report = coverage_report(coverage, objects, NAMES, Assigner(positive_iou=0.9, negative_iou=0.2))
    assert (report["all"]["reached"], report["all"]["between"], report["all"]["below"]) == (0.25, 0.75, 0.0)


def test_figures_of_a_measured_coverage_add_up(objects):
    assigner = Assigner(AnchorGenerator((8, 32)))
    report = coverage_report(measure_coverage(assigner, objects), objects, NAMES, assigner)
    for group in ("classes", "sizes_original", "sizes_network"):
        assert sum(row["boxes"] for row in report[group]) == 4
    assert sum(row["positives"] for row in report["shapes"]) == 4 * report["all"]["positives_per_box"]
    assert sum(row["best_of_boxes"] for row in report["levels"]) == 4
    assert sum(row["share"] for row in report["levels"]) == pytest.approx(1)


def row(name: str, boxes: int = 10, **figures) -> dict:
    found = {"reached": 0.75, "between": 0.2, "below": 0.05, "mean_iou": 0.61234, "positives_per_box": 3.44, "lost": 2}
    if not boxes:
        found = dict.fromkeys(found) | {"lost": 0}
    return {"name": name, "boxes": boxes, **found, **figures}


def report_of(classes: list[dict]) -> dict:
    sizes = [row("small"), row("medium", 0), row("large")]
    level = {"stride": 8, "least_side": 22.6, "greatest_side": 71.8, "best_of_boxes": 7, "positives": 34, "share": 1.0}
    return {"all": row("all"), "classes": classes, "sizes_original": sizes, "sizes_network": sizes, "levels": [level]}


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_worst_class_comes_first_and_those_without_boxes_are_left_out():
    text = format_coverage("train", report_of([row("good", mean_iou=0.9), row("bad", mean_iou=0.1), row("none", 0)]))
    names = [line.split()[0] for line in text.split("\n\n")[1].splitlines()[2:]]
    assert names == ["bad", "good"]


def test_more_classes_than_fit_are_counted():
    text = format_coverage("train", report_of([row(f"class{i}") for i in range(30)]), max_classes=4)
    assert "... 26 more classes in anchors_report.json" in text
    assert "class3 " in text
    assert "class4 " not in text


def test_a_line_holds_the_figures_in_the_order_of_the_columns():
    lines = format_coverage("train: present anchors", report_of([row("cat")])).splitlines()
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
    assert "a?b" in format_coverage("train", report_of([row("a\nb")]))


def test_the_legend_names_the_thresholds():
    assert "0.5 or more; between: 0.4 or more" in legend(0.5, 0.4)
