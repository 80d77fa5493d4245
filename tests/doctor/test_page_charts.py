from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from retina.doctor.detector_view import DetectorView
from retina.doctor.page_charts import histogram, size_scatter


def view(count: int, best: float = 0.9) -> DetectorView:
    boxes = np.tile(np.array([[0, 0, 32, 96]], dtype=np.float32), (count, 1))
    zeros = np.zeros(count, dtype=np.int64)
    return DetectorView(
        boxes, zeros, zeros, np.full(count, best), zeros, np.array([[96, 96]]), np.array([count]), ("a",), 0
    )


def svg(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def test_every_object_is_a_dot_at_its_width_and_height():
    drawn = svg(size_scatter(view(3)))
    dots = drawn.findall("circle")
    assert len(dots) == 3
    ticks = {t.text: float(t.get("x")) for t in drawn.findall("text")[::2]}
    assert float(dots[0].get("cx")) == pytest.approx(ticks["32"], abs=1)
    assert float(dots[0].get("cx")) < ticks["96"]


def test_objects_that_no_anchor_reaches_stand_out():
    assert [dot.get("class") for dot in svg(size_scatter(view(1, best=0.2))).findall("circle")] == ["dot out"]


def test_many_objects_are_thinned_and_that_is_said():
    text = size_scatter(view(9000))
    assert len(svg(text).findall("circle")) == 1500
    assert "1,500 of 9,000 objects" in text


def test_the_histogram_counts_every_image():
    for values in (np.array([0, 0, 1, 5]), np.array([0, 250, 3]), np.array([], dtype=np.int64)):
        drawn = svg(histogram(values))
        numbers = [int(t.text) for t in drawn.findall("text")[::2] if t.text]
        assert sum(numbers) == len(values)
