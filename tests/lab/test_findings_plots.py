"""Pictures of findings show the numbers that they are given, also where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from retina.drawing.figures import to_pixels
from retina.lab import findings_plots
from tests.lab.small_network import make_model
from tests.lab.test_findings import empty

FIGURES = [getattr(findings_plots, name) for name in dir(findings_plots) if name.endswith("_figure")]


def test_every_picture_was_looked_at() -> None:
    assert len(FIGURES) == 8


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_findings_of_nothing_can_be_drawn(draw) -> None:
    assert to_pixels(draw(empty().as_plain()), dpi=30).size > 0


@pytest.fixture
def plain(lab) -> dict:
    return lab()(make_model()).as_plain()


def test_the_lines_of_figure_4_are_the_cumulative_curves(plain) -> None:
    figure = findings_plots.cumulative_figure(plain)
    for place, group in zip(figure.axes, ("positive", "negative"), strict=True):
        curves = list(plain["cumulative_loss"][group].values())
        assert len(curves) == 5
        for line, curve in zip(place.get_lines(), curves, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), curve)
        widths = [line.get_linewidth() for line in place.get_lines()]
        assert widths.index(max(widths)) == 3, "gamma 2, the model's own"


def test_bars_are_as_high_as_the_counts(plain) -> None:
    figure = findings_plots.score_figure(plain)
    for place, counts in zip(figure.axes, plain["scores"].values(), strict=True):
        assert [bar.get_height() for bar in place.patches] == counts


def test_classes_are_sorted_and_those_too_many_are_added_up(plain) -> None:
    many = 40
    table = np.arange(1, many + 1)[None].repeat(2, axis=0)
    wide = {**plain, "class_names": ["same"] * many, "positives": table.tolist(), "levels": ["P3", "P4"],
            "low_quality_positives": [0, 5]}  # fmt: skip
    by_class = findings_plots.positives_figure(wide).axes[1]
    widths = [bar.get_width() for bar in by_class.patches]
    assert len(widths) == 31
    assert widths[0] == 80
    assert sum(widths) == table.sum()
    labels = [label.get_text() for label in by_class.get_yticklabels()]
    assert labels[-1] == "10 others"
    assert len(set(labels)) == 31, "classes of one name have bars of their own"


def test_the_matrix_has_a_cell_for_every_count(plain) -> None:
    matrix = np.zeros((4, 4), dtype=int)
    matrix[0, 0], matrix[0, 3], matrix[3, 1] = 6, 2, 4
    drawn = findings_plots.confusion_figure({**plain, "confusion": {**plain["confusion"], "matrix": matrix.tolist()}})
    place = drawn.axes[0]
    cells = {tuple(int(v + 0.5) for v in cell.get_xy()): cell.get_facecolor()[3] for cell in place.patches}
    assert cells == pytest.approx({(0, 0): 0.08 + 0.92 * 0.75, (3, 0): 0.08 + 0.92 * 0.25, (1, 3): 1.0})
    assert sorted(text.get_text() for text in place.texts) == ["2", "4", "6"]


def test_the_best_threshold_is_that_of_the_highest_f1() -> None:
    table = {"threshold": [0.1, 0.2, 0.3], "f1": [0.4, 0.6, None]}
    assert findings_plots.best_threshold({"precision_recall": table}) == (0.2, 0.6)
    assert findings_plots.best_threshold({"precision_recall": {"threshold": [0.1], "f1": [None]}}) is None
