"""What the lab finds in a small network, against computing it anchor by anchor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retina.detection.criterion import Criterion
from retina.detection.losses.classification import CrossEntropyLoss, FocalLoss
from retina.detection.losses.focal_family import PenaltyReducedFocalLoss, SoftmaxFocalLoss, VarifocalLoss
from retina.detection.losses.overlap import GIoULoss
from retina.detection.losses.running import WIoUv3Loss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.lab.anchor_losses import FocalSettings
from retina.lab.looking import DEFAULT_FOCAL, own_focal
from retina.lab.panels.anchors import CumulativeLoss, HardestAnchors
from retina.lab.panels.levels import LevelLosses, Positives
from retina.training.state import random_state
from tests.lab.small_network import make_batches, make_model


def brute_force(model, gamma: float) -> dict[str, np.ndarray]:
    """Focal losses of all anchors of all images, one by one, sorted; from the textbook formula in float64."""
    losses: dict[str, list[float]] = {"positive": [], "negative": []}
    for batch in make_batches():
        with torch.no_grad():
            logits = model.eval()(batch.images, box_cells=None).logits.flatten(0, 1).double()
        present = torch.zeros_like(logits, dtype=torch.bool)
        present[batch.targets.positive_index, batch.targets.positive_labels] = True
        p = logits.sigmoid()
        p_t, alpha_t = torch.where(present, p, 1 - p), torch.where(present, 0.25, 0.75)
        anchors = (-alpha_t * (1 - p_t) ** gamma * p_t.log()).sum(dim=1)
        ignored, positive = set(batch.targets.ignored_index.tolist()), set(batch.targets.positive_index.tolist())
        for index, loss in enumerate(anchors.tolist()):
            if index not in ignored:
                losses["positive" if index in positive else "negative"].append(loss)
    return {name: np.sort(values) for name, values in losses.items()}


def test_the_cumulative_curves_are_those_of_sorting_every_anchor(lab) -> None:
    model = make_model()
    diagnosis = lab()(model)
    for gamma in (0.0, 2.0, 5.0):
        for group, ordered in brute_force(model, gamma).items():
            assert diagnosis[CumulativeLoss].losses[group][gamma].count == len(ordered)
            assert diagnosis[CumulativeLoss].losses[group][gamma].total == pytest.approx(ordered.sum(), rel=1e-5)
            cumulative = np.concatenate([[0.0], np.cumsum(ordered)]) / ordered.sum()
            exact = np.interp(np.linspace(0, 1, 201), np.linspace(0, 1, len(ordered) + 1), cumulative)
            np.testing.assert_allclose(diagnosis[CumulativeLoss].losses[group][gamma].curve(), exact, atol=1e-3)
            if group == "negative":
                hardest = np.interp(0.99, np.linspace(0, 1, len(ordered) + 1), cumulative)
                assert diagnosis[HardestAnchors].share(group, gamma) == pytest.approx(1 - hardest, abs=2e-3)


def test_counts_and_own_losses_are_those_of_the_batches(lab) -> None:
    model = make_model()
    diagnosis = lab()(model)
    batches = make_batches()
    assert diagnosis.num_images == 4
    assert diagnosis[Positives].total == sum(batch.targets.num_positives for batch in batches)
    labels = torch.cat([batch.targets.positive_labels for batch in batches])
    assert diagnosis[Positives].counts.sum(axis=0).tolist() == torch.bincount(labels, minlength=3).tolist()
    plain = diagnosis.record()
    assert plain["num_anchors"]["ignored"] == sum(len(batch.targets.ignored_index) for batch in batches)
    assert plain["num_anchors"]["ignored"] > 0
    criterion = Criterion(FocalLoss(), GIoULoss(weight=2.0)).eval()
    with torch.no_grad():
        whole = [criterion(model.eval()(batch.images, box_cells=None), batch.targets) for batch in batches]
    for name in ("classification", "box"):
        total = sum(float(losses[name]) for losses in whole)
        assert diagnosis[LevelLosses].sums[name].sum() == pytest.approx(total, rel=1e-4)
    assert sum(plain["gradient_shares"].values()) == pytest.approx(1)
    assert all(share > 0.01 for share in plain["gradient_shares"].values())
    for share in zip(*plain["gradient_shares_by_level"].values(), strict=True):
        assert sum(share) == pytest.approx(1) or sum(share) == 0


def test_positives_below_the_threshold_are_found_where_an_object_is_small(lab) -> None:
    # The object of 10 x 7 pixels overlaps no anchor of 32 pixels and more by half.
    diagnosis = lab()(make_model())
    assert diagnosis[Positives].low_quality[0] > 0
    assert diagnosis[Positives].low_quality.sum() < diagnosis[Positives].total


def test_looking_changes_nothing(lab) -> None:
    model = make_model().train()
    model.backbone.layer1.eval()  # a frozen part
    criterion = Criterion(GHMCLoss(), WIoUv3Loss())
    before = [value.clone() for value in [*model.state_dict().values(), *criterion.state_dict().values()]]
    modes = [module.training for module in model.modules()]
    state = random_state()
    batches = make_batches()
    loader = torch.utils.data.DataLoader(batches, batch_size=None)  # draws a seed whenever it starts
    diagnosis = lab(criterion=criterion, loader=loader)(model)
    assert diagnosis.num_images == 4
    after = [*model.state_dict().values(), *criterion.state_dict().values()]
    assert len(before) > 50
    assert all(map(torch.equal, before, after))
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(random_state()["torch"], state["torch"])
    assert random_state()["python"] == state["python"]


@pytest.mark.parametrize(
    "loss", [SoftmaxFocalLoss(), VarifocalLoss(), GHMCLoss(), PenaltyReducedFocalLoss()], ids=lambda x: type(x).__name__
)
def test_any_loss_can_be_looked_through(lab, loss) -> None:
    diagnosis = lab(loss)(make_model(scores=loss.scores))
    plain = diagnosis.record()
    assert plain["not_finite"] == 0
    assert 0 < plain["hardest_1_percent"]["own_gradient"] <= 1
    assert sum(plain["losses_by_level"]["classification"]) > 0


def test_the_focal_settings_are_those_of_the_loss_or_of_the_paper() -> None:
    assert own_focal(FocalLoss(alpha=0.5, gamma=1.5)) == FocalSettings(0.5, 1.5)
    assert own_focal(FocalLoss(alpha=[0.5, 0.6, 0.7])) == DEFAULT_FOCAL
    assert own_focal(CrossEntropyLoss()) == FocalSettings(0.5, 0.0)
    assert own_focal(SoftmaxFocalLoss(gamma=1.0)) == FocalSettings(0.25, 1.0, softmax=True)
    assert own_focal(GHMCLoss()) == DEFAULT_FOCAL


def test_the_model_s_own_gamma_is_among_those_that_are_drawn(lab) -> None:
    diagnosis = lab(FocalLoss(gamma=1.5))(make_model())
    assert diagnosis.subject.gammas == [0.0, 0.5, 1.0, 1.5, 2.0, 5.0]
