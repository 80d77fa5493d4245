from __future__ import annotations

import numpy as np
import pytest

from retina.doctor.detector_view import DetectorView
from retina.doctor.page_figures import objects_figure, size_figure
from retina.drawing.figures import COLORS


def view(count: int, best: float = 0.9, box: tuple[float, ...] = (0, 0, 32, 96)) -> DetectorView:
    boxes = np.tile(np.array([box], dtype=np.float32), (count, 1))
    zeros = np.zeros(count, dtype=np.int64)
    return DetectorView(
        boxes, zeros, zeros, np.full(count, best), zeros, np.array([[96, 96]]), np.array([count]), ("a",), 0
    )


def dots(figure) -> dict[str, list]:
    return {line.get_color(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}


def test_every_object_is_a_dot_at_its_width_and_height():
    figure, caption = size_figure(view(3))
    assert dots(figure) == {COLORS[0]: [[32, 96]] * 3, COLORS[3]: []}
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    assert caption == "Orange: no anchor reaches IoU 0.5."


def test_objects_that_no_anchor_reaches_stand_out_and_those_beyond_the_axes_stand_at_the_border():
    figure, _ = size_figure(view(1, best=0.2, box=(0, 0, 1, 5000)))
    assert dots(figure) == {COLORS[0]: [], COLORS[3]: [[4, 1024]]}


def test_many_objects_are_thinned_and_that_is_said():
    figure, caption = size_figure(view(9000))
    assert len(dots(figure)[COLORS[0]]) == 1500
    assert caption.startswith("1,500 of 9,000 objects")


@pytest.mark.parametrize("values", [[0, 0, 1, 5], [0, 250, 3], []])
def test_the_bars_count_every_image(values):
    axes = objects_figure(np.array(values, dtype=np.int64)).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == len(values)
    assert sum(int(text.get_text().replace(",", "") or 0) for text in axes.texts) == len(values)
