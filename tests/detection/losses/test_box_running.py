"""Losses with a memory: their first batch by formula, running statistics by hand, ranks, evaluation, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from retina.detection.losses.box import BoxLoss
from retina.detection.losses.overlap import IoULoss, WIoULoss
from retina.detection.losses.running import GHMRLoss, WIoUv3Loss
from tests.detection.losses.box_losses import rows

MAKERS: dict[str, Callable[[], BoxLoss]] = {
    "wiou_v3": lambda: WIoUv3Loss(half_life=3.0),
    "ghm_r": lambda: GHMRLoss(),
    "ghm_r_without_memory": lambda: GHMRLoss(momentum=0.0),
}


def random_rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows that are boxes of 10 to 30 px, a little apart, and as good as codes."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20 + 10
    target = torch.cat([corner, corner + size], dim=1)
    spread = torch.rand(count, 1, generator=generator, dtype=torch.float64).square() * 5
    return target + spread * torch.randn(count, 4, generator=generator, dtype=torch.float64), target


def box_with_iou(iou: float) -> tuple[Tensor, Tensor]:
    """A box of the target's centre and share ``iou`` of its area."""
    half = 50.0 * math.sqrt(iou)
    predicted, target = torch.tensor([[-half, -half, half, half]]), torch.tensor([[-50.0, -50.0, 50.0, 50.0]])
    return predicted.double(), target.double()


def asl1(error: float, mu: float) -> float:
    return math.sqrt(error**2 + mu**2) - mu


def ghm_by_formula(error: np.ndarray, counts: list[float], *, mu: float) -> np.ndarray:
    """The paper's beta = N / (S M) times ASL1, code by code; ``counts`` are the running S."""
    bins = len(counts)
    loss = np.zeros(len(error))
    for row, column in np.ndindex(error.shape):
        x = float(error[row, column])
        region = min(int(abs(x) / math.sqrt(x**2 + mu**2) * bins), bins - 1)
        loss[row] += error.size / (counts[region] * bins) * asl1(x, mu)
    return loss


def count_by_formula(error: np.ndarray, *, mu: float, bins: int) -> list[float]:
    norms = np.abs(error) / np.sqrt(error**2 + mu**2)
    return np.histogram(norms, bins=bins, range=(0, 1))[0].astype(float).tolist()


@pytest.mark.parametrize(("mu", "bins"), [(0.02, 10), (0.5, 7), (3.0, 1)])
def test_ghm_of_a_first_batch_is_the_papers_formula(mu, bins):
    predicted, target = random_rows(50, 1)
    error = (predicted - target).numpy()
    counts = count_by_formula(error, mu=mu, bins=bins)
    assert sum(count > 0 for count in counts) >= min(bins, 5)
    loss = GHMRLoss(mu=mu, bins=bins)
    value = loss(rows(predicted, target)).numpy()
    np.testing.assert_allclose(value, ghm_by_formula(error, counts, mu=mu), rtol=1e-9, atol=1e-13)
    assert loss.bin_counts.tolist() == counts


def test_ghm_of_later_batches_weighs_by_the_moving_average_of_every_bin():
    loss, average = GHMRLoss(mu=0.5, bins=5, momentum=0.6), None
    for seed in range(4):
        predicted, target = random_rows(20, seed)
        error = (predicted - target).numpy()
        counts = count_by_formula(error, mu=0.5, bins=5)
        average = counts if average is None else [0.6 * s + 0.4 * r for s, r in zip(average, counts, strict=True)]
        value = loss(rows(predicted, target)).numpy()
        np.testing.assert_allclose(value, ghm_by_formula(error, average, mu=0.5), rtol=1e-6)
    np.testing.assert_allclose(loss.bin_counts.numpy(), average, rtol=1e-6)


def test_ghm_gradient_is_that_of_the_formula_with_its_weights_held():
    predicted, target = random_rows(20, 2)
    predicted.requires_grad_()
    GHMRLoss(mu=0.5)(rows(predicted, target)).sum().backward()
    error = (predicted.detach() - target).numpy()
    counts = count_by_formula(error, mu=0.5, bins=10)
    norms = error / np.sqrt(error**2 + 0.25)
    weights = error.size / (10 * np.array(counts)[np.minimum(np.abs(norms) * 10, 9).astype(int)])
    np.testing.assert_allclose(predicted.grad.numpy(), weights * norms, rtol=1e-10)


def test_ghm_of_one_bin_without_memory_is_the_plain_asl1():
    predicted, target = random_rows(20, 3)
    error = (predicted - target).numpy()
    expected = (np.sqrt(error**2 + 0.02**2) - 0.02).sum(axis=1)
    value = GHMRLoss(bins=1, momentum=0.0)(rows(predicted, target))
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)


def test_ghm_by_hand():
    # Norms 0.6 (three codes) and 0 (one): bins 1 and 0 of 2; ASL1 of 3 beside 4 is 1; weight 4 / (2 * 3).
    predicted = torch.tensor([[3.0, -3.0, 3.0, 0.0]])
    assert GHMRLoss(mu=4.0, bins=2)(rows(predicted, torch.zeros(1, 4))).item() == pytest.approx(3 * 4 / (2 * 3))


def test_ghm_gives_rare_and_common_sizes_of_gradient_the_same_say():
    # 15 codes with norm 0.1 and one with 0.9, half of all bins' worth each.
    small, large = 0.1 / math.sqrt(1 - 0.01), 0.95 / math.sqrt(1 - 0.95**2)
    predicted = torch.full((4, 4), small, dtype=torch.float64)
    predicted[0, 0] = large
    predicted.requires_grad_()
    GHMRLoss(mu=1.0, bins=2)(rows(predicted, torch.zeros(4, 4, dtype=torch.float64))).sum().backward()
    gradient = predicted.grad.flatten()
    assert gradient[0].item() / 0.95 == pytest.approx(gradient[1:].sum().item() / 0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_not_finite_is_told_and_does_not_spoil_the_memory(name, bad):
    predicted, target = (rows.float() for rows in random_rows(6, 4))
    loss = MAKERS[name]()
    spoiled = rows(torch.cat([predicted, torch.full((1, 4), bad)]), torch.cat([target, target[:1]]))
    assert not loss(spoiled).isfinite().all()
    assert all(buffer.isfinite().all() for buffer in loss.buffers())
    assert loss(rows(predicted, target)).isfinite().all()


def test_wiou_mean_starts_at_one_and_forgets_half_in_its_half_life():
    loss = WIoUv3Loss(half_life=4.0)
    assert loss.mean_loss.item() == 1.0
    for _ in range(4):
        loss(rows(*box_with_iou(0.8)))
    assert loss.mean_loss.item() == pytest.approx(0.5 * 1.0 + 0.5 * 0.2, rel=1e-6)
    for _ in range(4):
        loss(rows(*box_with_iou(0.8)))
    assert loss.mean_loss.item() == pytest.approx(0.25 * 1.0 + 0.75 * 0.2, rel=1e-6)


def test_wiou_default_memory_is_the_momentum_of_the_paper():
    loss = WIoUv3Loss()
    loss(rows(*box_with_iou(1.0 - 1e-9)))
    assert 1.0 - loss.mean_loss.item() == pytest.approx(1 - 0.05 ** (1 / (890 * 34)), rel=1e-2)


@pytest.mark.parametrize(("loss_of_box", "mean"), [(0.3, 0.1), (0.3, 0.3), (0.05, 0.5), (0.9, 0.2)])
def test_wiou_gain_is_that_of_the_formula(loss_of_box, mean):
    predicted, target = box_with_iou(1 - loss_of_box)
    loss = WIoUv3Loss(alpha=1.7, delta=2.7).eval()
    loss.mean_loss.fill_(mean)
    beta = loss_of_box / loss.mean_loss.item()
    gain = loss(rows(predicted, target)) / WIoULoss()(rows(predicted, target))
    assert gain.item() == pytest.approx(beta / (2.7 * 1.7 ** (beta - 2.7)), rel=1e-6)


def test_wiou_gain_is_one_at_delta_and_largest_at_one_over_the_logarithm_of_alpha():
    loss = WIoUv3Loss().eval()
    degrees = torch.linspace(0.02, 9.0, 900, dtype=torch.float64)
    boxes = [box_with_iou(1 - 0.1 * degree.item()) for degree in degrees]
    predicted, target = (torch.cat(rows) for rows in zip(*boxes, strict=True))
    loss.mean_loss.fill_(0.1)
    gain = loss(rows(predicted, target)) / WIoULoss()(rows(predicted, target))
    assert degrees[gain.argmax()].item() == pytest.approx(1 / math.log(1.9), abs=0.02)
    assert gain[(degrees - 3).abs().argmin()].item() == pytest.approx(1.0, abs=5e-3)
    assert gain[0] < 0.1
    assert gain[-1] < 0.1


def test_wiou_with_gain_of_one_is_v1_in_value_and_gradient():
    predicted, target = box_with_iou(0.7)
    predicted = predicted + torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss = WIoUv3Loss(delta=3.0).eval()
    loss.mean_loss.fill_(IoULoss()(rows(predicted, target)).item() / 3)  # an outlier degree of delta
    leaves = [predicted.clone().requires_grad_() for _ in range(2)]
    values = loss(rows(leaves[0], target)), WIoULoss()(rows(leaves[1], target))
    for value in values:
        value.sum().backward()
    torch.testing.assert_close(values[0], values[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", MAKERS)
def test_evaluation_leaves_the_memory_as_it_is_and_uses_it(name):
    loss, seen, judged = MAKERS[name](), random_rows(20, 5), random_rows(7, 6)
    loss(rows(*seen))
    kept = {key: value.clone() for key, value in loss.state_dict().items()}
    loss.eval()
    first, second = loss(rows(*judged)), loss(rows(*judged))
    assert first.equal(second)
    assert all(value.equal(kept[key]) for key, value in loss.state_dict().items())
    if name != "ghm_r_without_memory":
        assert not torch.allclose(first, MAKERS[name]().eval()(rows(*judged)))
    loss.train()
    loss(rows(*judged))
    assert not all(value.equal(kept[key]) for key, value in loss.state_dict().items())


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_without_boxes_leaves_the_memory_as_it_is(name):
    loss = MAKERS[name]()
    loss(rows(*random_rows(20, 5)))
    kept = {key: value.clone() for key, value in loss.state_dict().items()}
    loss(rows(torch.zeros(0, 4), torch.zeros(0, 4)))
    assert all(value.equal(kept[key]) for key, value in loss.state_dict().items())


@pytest.mark.parametrize("name", MAKERS)
def test_the_memory_goes_on_from_a_state_dict(name):
    loss, resumed = MAKERS[name](), MAKERS[name]()
    loss(rows(*random_rows(20, 5)))
    assert loss.state_dict()
    resumed.load_state_dict(loss.state_dict())
    assert resumed(rows(*random_rows(9, 6))).equal(loss(rows(*random_rows(9, 6))))


@pytest.mark.parametrize("name", MAKERS)
def test_ranks_together_have_the_losses_and_the_memory_of_the_joined_batch(name):
    predicted, target = random_rows(60, 7)
    shares = [slice(0, 0), slice(0, 25), slice(25, 60)]  # one rank has no boxes
    told: list[Tensor] = []
    for share in shares:  # what each rank would send
        asks = MAKERS[name]()
        asks.sum_over_ranks = lambda local: told.append(local.clone()) or local
        asks(rows(predicted[share], target[share]))
    assert len(told) == 3  # once a forward pass, so that the ranks stay in step
    ranks = [MAKERS[name]() for _ in shares]
    for rank in ranks:
        rank.sum_over_ranks = lambda local: torch.stack(told).sum(dim=0)
    values = [rank(rows(predicted[share], target[share])) for rank, share in zip(ranks, shares, strict=True)]
    whole = MAKERS[name]()
    torch.testing.assert_close(torch.cat(values), whole(rows(predicted, target)))
    for rank in ranks:
        for buffer, expected in zip(rank.buffers(), whole.buffers(), strict=True):
            torch.testing.assert_close(buffer, expected)
