"""What was found, as plain values for a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from retina.lab.anchor_losses import FocalSettings
from retina.lab.confusion import Confusion
from retina.lab.findings import SCORE_BINS, Findings
from tests.lab.small_network import CLASS_NAMES, make_model


def empty() -> Findings:
    return Findings.empty(
        levels=["P3", "P4"], class_names=CLASS_NAMES, gammas=[0.0, 2.0], focal=FocalSettings(0.25, 2.0),
        confusion=Confusion(3),
    )  # fmt: skip


def test_findings_of_nothing_are_plain_and_have_no_shares() -> None:
    plain = empty().as_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == json.loads(json.dumps(plain))
    assert plain["hardest_1_percent"]["own_gradient"] is None
    assert plain["gradient_shares"] == {"classification": 0.0, "box": 0.0}
    assert plain["gradient_of_levels"] == [0.0, 0.0]
    assert plain["losses_by_level"] == {"classification": [0.0, 0.0], "box": [0.0, 0.0]}


def test_every_number_of_a_look_goes_through_json(lab) -> None:
    plain = lab()(make_model()).as_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert sum(plain["gradient_of_levels"]) == pytest.approx(1)
    assert plain["class_names"] == list(CLASS_NAMES)


def test_scores_fall_into_bins_from_0_to_1() -> None:
    findings = empty()
    findings.add_scores("positive", torch.tensor([0.0, 0.019, 0.5, 1.0]))
    counts = findings.scores["positive"]
    assert (len(counts), counts[0], counts[25], counts[-1]) == (SCORE_BINS, 2, 1, 1)
    assert findings.score_sums["positive"] == pytest.approx((1.519, 1.250361))


def test_gradient_shares_by_hand() -> None:
    findings = empty()
    findings.gradient_squares["classification"] += np.array([9.0, 0.0])
    findings.gradient_squares["box"] += np.array([0.0, 1.0])
    assert findings.gradient_shares() == pytest.approx({"classification": 0.75, "box": 0.25})
    assert findings.gradient_shares_by_level() == {"classification": [1.0, 0.0], "box": [0.0, 1.0]}
    assert findings.gradient_of_levels() == pytest.approx([0.9, 0.1])
