"""The panels of a model: their numbers, their figures, and what becomes of them in TensorBoard and in the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from retina.drawing.figures import to_pixels
from retina.lab.curve_panels import BOX_PANELS, CLASS_PANELS
from retina.lab.look import LookedAt, panel_classes, percent
from retina.lab.looking import Diagnosis
from retina.lab.panels.anchors import SCORE_BINS, CumulativeLoss, HardestAnchors, Scores
from retina.lab.panels.levels import GradientShares, Positives
from retina.lab.panels.mistakes import ConfusionMatrix, best_threshold
from retina.structures import AnchorTargets, Predictions
from tests.lab.small_network import CLASS_NAMES, make_model


@pytest.fixture
def empty(lab) -> Diagnosis:
    return lab(gammas=(0.0, 2.0)).begin()


@pytest.fixture
def seen(lab) -> Diagnosis:
    return lab()(make_model())


def tables(diagnosis: Diagnosis) -> dict[str, dict]:
    return {table.title.partition(" (")[0]: {row[0]: row[1:] for row in table.rows} for table in diagnosis.tables()}


def test_every_panel_is_found_where_it_is_defined_and_has_words_that_say_how_to_read_it() -> None:
    assert [kind.name for kind in panel_classes()] == [
        "cumulative_loss", "hardest", "scores", "positives", "gradient_shares", "level_losses", "confusion", "mistakes",
    ]  # fmt: skip
    kinds = [*panel_classes(), *CLASS_PANELS, *BOX_PANELS]
    assert len({kind.name for kind in kinds}) == len(kinds) == 17
    for kind in kinds:
        assert kind.name.isidentifier()
        assert len(kind.__doc__) > 2 * len(kind.title)
        assert "\n" not in kind.caption.fget(object.__new__(kind))


def test_every_number_of_a_look_goes_through_json(seen) -> None:
    record = seen.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert sum(record["gradient_of_levels"]) == pytest.approx(1)
    assert record["class_names"] == list(CLASS_NAMES)


def test_no_image_has_numbers_and_figures_but_no_shares(empty) -> None:
    record = empty.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["hardest_1_percent"]["own_gradient"] is None
    assert record["gradient_shares"] == {"classification": 0.0, "box": 0.0}
    assert record["gradient_of_levels"] == [0.0] * 5
    assert record["losses_by_level"] == {"classification": [0.0] * 5, "box": [0.0] * 5}
    for panel in empty.panels:
        assert to_pixels(panel.figure(), dpi=30).size > 0
    shown = empty.for_tensorboard()
    assert shown.histograms == {}
    assert shown.scalars["loss_lab/hardest_1_percent"] is None
    assert shown.scalars["loss_lab/low_quality_positives"] is None
    assert shown.scalars["loss_lab/positives_P3"] == 0


def test_tensorboard_gets_pictures_histograms_and_numbers_of_one_look(seen) -> None:
    shown = seen.for_tensorboard()
    parts = (shown.pictures, shown.histograms, shown.scalars)
    assert [len(part) for part in parts] == [8, 3, 3 + 1 + 5 + 2 + 10]
    assert all(picture.ndim == 3 and picture.shape[2] == 3 for picture in shown.pictures.values())
    assert all(name.startswith("loss_lab/") for part in parts for name in part)
    assert shown.scalars["loss_lab/hardest_1_percent"] == seen[HardestAnchors].share("all", 2.0)
    levels = [shown.scalars[f"loss_lab/positives_P{level}"] for level in range(3, 8)]
    assert levels == seen[Positives].counts.sum(axis=1).tolist()
    for group in ("positive", "negative", "ignored"):
        histogram = shown.histograms[f"loss_lab/p_t_{group}"]
        assert histogram.counts.sum() == seen[Scores].counts[group].sum()
        assert histogram.total == seen[Scores].sums[group][0]
    shares = [shown.scalars[f"loss_lab/gradient_share_{name}"] for name in ("classification", "box")]
    assert sum(shares) == pytest.approx(1)


def test_scores_fall_into_bins_from_0_to_1(empty) -> None:
    logits = torch.tensor([0.0, 0.019, 0.5, 1.0]).logit()[None, :, None]
    none, index = torch.zeros(0, dtype=torch.int64), torch.arange(4)
    targets = AnchorTargets(index, torch.zeros_like(index), torch.zeros(4, 4), torch.zeros(4, 4), none)
    panel = empty[Scores]
    panel.add(LookedAt(Predictions(logits, torch.zeros(4, 4), [(2, 2)], index), targets, {}, torch.zeros(4), [], []))
    counts = panel.counts["positive"]
    assert (len(counts), counts[0], counts[25], counts[-1]) == (SCORE_BINS, 2, 1, 1)
    assert panel.sums["positive"] == pytest.approx((1.519, 1.250361))


def test_gradient_shares_by_hand(empty) -> None:
    panel = empty[GradientShares]
    panel.squares["classification"][:2] = [9.0, 0.0]
    panel.squares["box"][:2] = [0.0, 1.0]
    assert panel.shares() == pytest.approx({"classification": 0.75, "box": 0.25})
    by_level = {name: shares[:2] for name, shares in panel.shares_by_level().items()}
    assert by_level == {"classification": [1.0, 0.0], "box": [0.0, 1.0]}
    assert panel.of_levels() == pytest.approx([0.9, 0.1, 0, 0, 0])


def test_the_lines_of_figure_4_are_the_cumulative_curves(seen) -> None:
    panel = seen[CumulativeLoss]
    for place, group in zip(panel.figure().axes, ("positive", "negative"), strict=True):
        curves = [histogram.curve() for histogram in panel.losses[group].values()]
        assert len(curves) == 5
        for line, curve in zip(place.get_lines(), curves, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), curve)
        widths = [line.get_linewidth() for line in place.get_lines()]
        assert widths.index(max(widths)) == 3, "gamma 2, the model's own"


def test_bars_are_as_high_as_the_counts(seen) -> None:
    panel = seen[Scores]
    for place, counts in zip(panel.figure().axes, panel.counts.values(), strict=True):
        assert [bar.get_height() for bar in place.patches] == counts.tolist()


def test_classes_are_sorted_and_those_too_many_are_added_up(lab) -> None:
    panel = lab(class_names=["same"] * 40).begin()[Positives]
    panel.counts[:2] = np.arange(1, 41)
    panel.low_quality[1] = 5
    by_class = panel.figure().axes[1]
    widths = [bar.get_width() for bar in by_class.patches]
    assert len(widths) == 31
    assert widths[0] == 80
    assert sum(widths) == panel.counts.sum()
    labels = [label.get_text() for label in by_class.get_yticklabels()]
    assert labels[-1] == "10 others"
    assert len(set(labels)) == 31, "classes of one name have bars of their own"


def test_the_matrix_has_a_cell_for_every_count(empty) -> None:
    panel = empty[ConfusionMatrix]
    panel.confusion.matrix[[0, 0, 3], [0, 3, 1]] = 6, 2, 4
    place = panel.figure().axes[0]
    cells = {tuple(int(v + 0.5) for v in cell.get_xy()): cell.get_facecolor()[3] for cell in place.patches}
    assert cells == pytest.approx({(0, 0): 0.08 + 0.92 * 0.75, (3, 0): 0.08 + 0.92 * 0.25, (1, 3): 1.0})
    assert sorted(text.get_text() for text in place.texts) == ["2", "4", "6"]


def test_the_best_threshold_is_that_of_the_highest_f1() -> None:
    assert best_threshold({"threshold": [0.1, 0.2, 0.3], "f1": [0.4, 0.6, None]}) == (0.2, 0.6)
    assert best_threshold({"threshold": [0.1], "f1": [None]}) is None


def test_shares_are_percent_and_nothing_is_a_dash() -> None:
    assert [percent(0.5), percent(0.00123), percent(None)] == ["50.0 %", "0.1 %", "-"]


def test_what_was_left_out_is_told(empty) -> None:
    glance = tables(empty)["At a glance"]
    assert glance["score threshold of the best F1"] == ("-",)
    assert glance["detections inside crowd regions, left out"] == ("0",)
    assert "anchors whose loss is not finite, left out" not in glance
    empty[HardestAnchors].pull.not_finite = 3
    assert tables(empty)["At a glance"]["anchors whose loss is not finite, left out"] == ("3",)


def test_confused_classes_come_with_their_names(seen) -> None:
    seen[ConfusionMatrix].confusion.matrix[0, 1] = 7
    found = tables(seen)
    assert found["Most confused classes"]["cat"] == ("<script>alert(1)</script>", "7")
    hardest = found["Share of the focal loss that the hardest 1 % carry"]
    assert list(hardest) == ["0", "0.5", "1", "2", "5"]
    assert {len(row) for row in hardest.values()} == {3}
    assert found["At a glance"]["images"] == ("4",)
