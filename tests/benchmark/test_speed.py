"""The table of variants."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from retina.benchmark import speed
from retina.benchmark.measure import Timing
from retina.benchmark.speed import Variant, Workload, measure_speed, variants


def test_rows_are_configured_then_float32_then_each_switch_alone() -> None:
    labels = [(v.label, v.precision) for v in variants("bf16", {"model.box_tower": "dense", "optimizer.fused": False})]
    assert labels == [
        ("train", "bf16"),
        ("train", "float32"),
        ("train model.box_tower=dense", "bf16"),
        ("train optimizer.fused=false", "bf16"),
        ("detect", "bf16"),
        ("detect", "float32"),
        ("detect model.box_tower=dense", "bf16"),
    ]


def test_float32_stands_there_once_where_it_is_configured() -> None:
    assert variants("float32", {}) == [Variant("train", "float32"), Variant("detect", "float32")]


def test_figures_of_a_row_by_hand(monkeypatch) -> None:
    small, large = nn.Linear(10, 5, bias=False), nn.Linear(10, 20, bias=False)
    inputs = torch.randn(1, 10)
    workloads = [
        Workload(Variant("train", "bf16"), partial(small, inputs), num_images=4),
        Workload(Variant("train", "float32", {"x": "dense"}), partial(large, inputs), num_images=4),
        Workload(Variant("detect", "bf16"), partial(small, inputs), num_images=1),
    ]
    seconds = {"0": Timing((2.0,)), "1": Timing((8.0,)), "2": Timing((0.5,))}
    monkeypatch.setattr(speed, "alternate", lambda some, repeats: {name: seconds[name] for name in some})
    rows = measure_speed(workloads, repeats=3, peaks={"bf16": 500.0, "float32": 100.0})
    assert [row["images/s"] for row in rows] == [2.0, 0.5, 2.0]
    assert [row["time"] for row in rows] == [1.0, 4.0, 1.0]
    assert [row["GFLOP"] for row in rows] == [1e-7, 4e-7, 1e-7]  # 2 x 10 x 5 and 2 x 10 x 20
    assert [row["of peak"] for row in rows] == [0.1, 0.5, 0.4]
    assert [row["of peak, dense"] for row in rows] == [0.4, 0.5, 0.4]
