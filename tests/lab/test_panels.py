"""What is shown during training."""

from __future__ import annotations

import pytest

from retina.lab.panels import LossPanels, panel_scalars, tally_histograms
from tests.lab.small_network import make_model
from tests.lab.test_findings import empty


def test_panels_are_pictures_histograms_and_numbers_of_one_look(lab) -> None:
    looks = []

    def look(model):
        looks.append(lab()(model))
        return looks[-1]

    panels = LossPanels(look)(make_model())
    (findings,) = looks
    assert len(panels.pictures) == 8
    assert all(picture.ndim == 3 and picture.shape[2] == 3 for picture in panels.pictures.values())
    assert all(
        name.startswith("loss_lab/") for part in (panels.pictures, panels.histograms, panels.scalars) for name in part
    )
    assert panels.scalars["loss_lab/hardest_1_percent"] == findings.hardest("all", 2.0)
    levels = [panels.scalars[f"loss_lab/positives_P{level}"] for level in range(3, 8)]
    assert levels == findings.positives.sum(axis=1).tolist()
    for group in ("positive", "negative", "ignored"):
        histogram = panels.histograms[f"loss_lab/p_t_{group}"]
        assert histogram.counts.sum() == findings.scores[group].sum()
        assert histogram.total == findings.score_sums[group][0]
    shares = [panels.scalars[f"loss_lab/gradient_share_{name}"] for name in ("classification", "box")]
    assert sum(shares) == pytest.approx(1)


def test_without_an_anchor_there_is_no_histogram_and_no_share() -> None:
    assert tally_histograms(empty()) == {}
    scalars = panel_scalars(empty())
    assert scalars["loss_lab/hardest_1_percent"] is None
    assert scalars["loss_lab/low_quality_positives"] is None
    assert scalars["loss_lab/positives_P3"] == 0
