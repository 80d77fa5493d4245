"""Focal loss from sparse targets, against its formula in float64, torchvision and values by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from retina.detection.losses.classification import (
    BalancedCrossEntropyLoss,
    CrossEntropyLoss,
    FocalLoss,
    own_logits,
)
from retina.detection.losses.focal import FOCAL_SUMS
from retina.structures import AnchorTargets

GAMMAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0)
LN2 = math.log(2)


def sparse_targets(positives: dict[int, int] | None = None, ignored: list[int] | None = None) -> AnchorTargets:
    """Targets with ``positives`` (anchor -> label) and ``ignored`` anchors; their boxes are of no interest here."""
    chosen = sorted((positives or {}).items())
    anchors = torch.tensor([anchor for anchor, _ in chosen], dtype=torch.int64)
    labels = torch.tensor([label for _, label in chosen], dtype=torch.int64)
    boxes = torch.zeros(len(chosen), 4)
    return AnchorTargets(anchors, labels, boxes, boxes, torch.tensor(sorted(ignored or []), dtype=torch.int64))


def random_case(rows: int, classes: int, *, seed: int, spread: float = 3.0) -> tuple[Tensor, AnchorTargets]:
    """Logits around the prior 0.01 with a tenth of the anchors positive and a tenth ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * spread - 4.6
    order = torch.randperm(rows, generator=generator).tolist()
    labels = torch.randint(classes, (rows,), generator=generator).tolist()
    tenth = rows // 10
    return logits, sparse_targets({a: labels[a] for a in order[:tenth]}, order[tenth : 2 * tenth])


def one_hot(targets: AnchorTargets, shape: tuple[int, int]) -> Tensor:
    dense = torch.zeros(shape)
    dense[targets.positive_index, targets.positive_labels] = 1.0
    return dense


def formula(logits: Tensor, targets: AnchorTargets, alpha: float, gamma: float) -> tuple[float, np.ndarray]:
    """Sum of -alpha_t (1 - p_t)^gamma log(p_t) and its derivative by every logit, in numpy's float64."""
    x = logits.double().numpy()
    present = one_hot(targets, x.shape).numpy().astype(bool)
    counted = np.ones(len(x), dtype=bool)
    counted[targets.ignored_index.numpy()] = False
    sign = np.where(present, 1.0, -1.0)
    log_p_t = -np.logaddexp(0.0, -sign * x)
    log_miss = -np.logaddexp(0.0, sign * x)  # log(1 - p_t)
    alpha_t = np.where(present, alpha, 1.0 - alpha)
    focus, p_t, miss = np.exp(gamma * log_miss), np.exp(log_p_t), np.exp(log_miss)
    value = -alpha_t * focus * log_p_t
    slope = alpha_t * focus * (gamma * p_t * log_p_t - miss) * sign
    return float(value[counted].sum()), slope * counted[:, None]


@pytest.fixture(params=FOCAL_SUMS)
def focal_loss(request):
    return partial(FocalLoss, implementation=request.param)


def test_an_undecided_score_costs_the_values_computed_by_hand(focal_loss):
    # p = 1/2: focus (1/2)^2, cross-entropy ln 2; alpha 1/4 where the class is present, 3/4 where it is absent.
    absent, present = 0.75 * 0.25 * LN2, 0.25 * 0.25 * LN2
    loss = focal_loss()
    assert loss(torch.zeros(1, 1), sparse_targets()).item() == pytest.approx(absent, rel=1e-6)
    assert loss(torch.zeros(1, 1), sparse_targets({0: 0})).item() == pytest.approx(present, rel=1e-6)
    mixed = loss(torch.zeros(3, 2), sparse_targets({1: 1}, [2]))
    assert mixed.item() == pytest.approx(3 * absent + present, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_are_those_of_the_papers_formula_in_float64(focal_loss, alpha, gamma):
    logits, targets = random_case(200, 7, seed=1)
    logits.requires_grad_()
    value = focal_loss(alpha, gamma)(logits, targets)
    value.backward()
    expected_value, expected_slope = formula(logits.detach(), targets, alpha, gamma)
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert value.item() == pytest.approx(expected_value, rel=1e-6, abs=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), expected_slope, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("spread", [0.0, 0.05, 4.0])
def test_the_sum_over_a_million_elements_keeps_six_digits(focal_loss, gamma, spread):
    # Spread 0 is a network at its initialisation: equal logits make equal rounding errors, which do not average out.
    logits, targets = random_case(20_000, 80, seed=2, spread=spread)
    expected, _ = formula(logits, targets, 0.25, gamma)
    assert focal_loss(gamma=gamma)(logits, targets).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_agree_with_torchvision(focal_loss, gamma):
    logits, targets = random_case(300, 5, seed=3)
    logits.requires_grad_()
    counted = torch.ones(300, 1).index_fill(0, targets.ignored_index, 0.0)
    reference = (sigmoid_focal_loss(logits, one_hot(targets, (300, 5)), 0.25, gamma) * counted).sum()
    (expected,) = torch.autograd.grad(reference, logits)
    value = focal_loss(0.25, gamma)(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(value, reference, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_computed_in_float32(focal_loss, dtype):
    logits, targets = random_case(500, 9, seed=4)
    logits = logits.to(dtype).requires_grad_()
    value = focal_loss()(logits, targets)
    value.backward()
    expected, slope = formula(logits.detach(), targets, 0.25, 2.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert logits.grad.dtype == dtype
    np.testing.assert_allclose(logits.grad.double().numpy(), slope, rtol=8e-3, atol=1e-7)


def test_gamma_zero_is_balanced_cross_entropy(focal_loss):
    logits, targets = random_case(100, 4, seed=5)
    dense = one_hot(targets, (100, 4))
    weight = torch.where(dense > 0, 0.3, 0.7).index_fill(0, targets.ignored_index, 0.0)
    expected = F.binary_cross_entropy_with_logits(logits, dense, weight, reduction="sum")
    torch.testing.assert_close(focal_loss(alpha=0.3, gamma=0.0)(logits, targets), expected)


@pytest.mark.parametrize("implementation", FOCAL_SUMS)
def test_cross_entropy_is_torchs_balanced_or_not(implementation):
    logits, targets = random_case(100, 4, seed=5)
    dense = one_hot(targets, (100, 4))
    kept = torch.ones(100, 1).index_fill(0, targets.ignored_index, 0.0)
    plain = CrossEntropyLoss(implementation)(logits, targets)
    torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(logits, dense, kept, reduction="sum"))
    weight = torch.where(dense > 0, 0.75, 0.25) * kept
    balanced = BalancedCrossEntropyLoss(implementation=implementation)(logits, targets)
    torch.testing.assert_close(balanced, F.binary_cross_entropy_with_logits(logits, dense, weight, reduction="sum"))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_equal_alphas_in_a_list_are_one_number(focal_loss, gamma):
    logits, targets = random_case(100, 4, seed=11)
    logits.requires_grad_()
    values = [focal_loss(alpha, gamma)(logits, targets) for alpha in (0.3, [0.3] * 4)]
    slopes = [torch.autograd.grad(value, logits)[0] for value in values]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(slopes[1], slopes[0])


def test_each_class_has_its_alpha_in_a_list(focal_loss):
    logits, targets = random_case(100, 3, seed=12)
    together = focal_loss([0.1, 0.5, 0.9])(logits, targets).item()
    single = 0.0
    for label, alpha in enumerate((0.1, 0.5, 0.9)):
        own = (targets.positive_labels == label).tolist()
        mine = {int(a): 0 for a, is_own in zip(targets.positive_index, own, strict=True) if is_own}
        column = sparse_targets(mine, targets.ignored_index.tolist())
        single += focal_loss(alpha)(logits[:, label : label + 1], column).item()
    assert together == pytest.approx(single, rel=1e-6)


def test_own_logits_are_those_of_the_positive_anchors_classes():
    logits = torch.arange(6.0).view(3, 2).bfloat16()
    own = own_logits(logits, sparse_targets({0: 1, 2: 0}))
    assert (own.tolist(), own.dtype) == ([1.0, 4.0], torch.float32)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_passes_gradcheck_in_float64(focal_loss, gamma):
    logits, targets = random_case(20, 3, seed=6)
    loss = focal_loss(gamma=gamma)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits.double().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", [1e4, 200.0, 90.0, 40.0, 17.0])
def test_saturated_logits_have_a_finite_loss_and_the_right_gradient(focal_loss, size, gamma, dtype):
    # Rows: absent and right, absent and wrong, present and right, present and wrong.
    logits = torch.tensor([[-size], [size], [size], [-size]], dtype=dtype, requires_grad=True)
    targets = sparse_targets({2: 0, 3: 0})
    value = focal_loss(gamma=gamma)(logits, targets)
    value.backward()
    expected, slope = formula(logits.detach(), targets, 0.25, gamma)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(logits.grad.double().numpy(), slope, rtol=1e-2, atol=1e-6)


def test_a_confidently_right_anchor_costs_nothing_even_beside_huge_numbers(focal_loss):
    # Its own class taken for background would cost 7,500: subtracted instead of replaced, it would leave noise.
    logits = torch.tensor([[1e4, -1e4, -5.0]])
    expected = 0.75 * torch.sigmoid(torch.tensor(-5.0)) ** 2 * F.softplus(torch.tensor(-5.0))
    torch.testing.assert_close(focal_loss()(logits, sparse_targets({0: 0})), expected)


@pytest.mark.parametrize("ignored_logit", [0.0, 1e4, -1e4])
def test_ignored_anchors_have_no_loss_and_no_gradient(focal_loss, ignored_logit):
    kept, _ = random_case(6, 3, seed=7)
    logits = torch.cat([kept[:2], torch.full((2, 3), ignored_logit), kept[2:]]).requires_grad_()
    value = focal_loss()(logits, sparse_targets({1: 0, 5: 2}, [2, 3]))
    value.backward()
    assert value.item() == focal_loss()(kept, sparse_targets({1: 0, 3: 2})).item()
    assert logits.grad[2:4].abs().max() == 0
    assert logits.grad[[0, 1, 4, 5, 6, 7]].abs().min() > 0


@pytest.mark.parametrize(
    ("rows", "targets", "costs_nothing"),
    [
        (4, sparse_targets(), False),
        (4, sparse_targets({}, [0, 1, 2, 3]), True),
        (0, sparse_targets(), True),
        (2, sparse_targets({0: 0, 1: 1}), False),
    ],
    ids=["no positives", "all ignored", "no anchors", "all positive"],
)
def test_edges_have_a_finite_loss_with_a_graph(focal_loss, rows, targets, costs_nothing):
    logits = torch.zeros(rows, 3, requires_grad=True)
    value = focal_loss()(logits, targets)
    value.backward()
    assert (value.item() == 0) is costs_nothing
    assert logits.grad.shape == (rows, 3)
    assert torch.isfinite(logits.grad).all()
    assert bool((logits.grad == 0).all()) is costs_nothing


def test_sum_over_parts_of_a_batch_is_the_sum_of_the_batch(focal_loss):
    logits, targets = random_case(100, 6, seed=8)
    assert FocalLoss.additive
    parts = 0.0
    for start, stop in ((0, 37), (37, 100)):
        positive = (targets.positive_index >= start) & (targets.positive_index < stop)
        ignored = (targets.ignored_index >= start) & (targets.ignored_index < stop)
        boxes = targets.positive_boxes[positive]
        part = AnchorTargets(
            targets.positive_index[positive] - start,
            targets.positive_labels[positive],
            boxes,
            boxes,
            targets.ignored_index[ignored] - start,
        )
        parts += focal_loss()(logits[start:stop], part).item()
    assert parts == pytest.approx(focal_loss()(logits, targets).item(), rel=1e-6)


def test_memory_order_of_the_logits_does_not_matter(focal_loss):
    logits, targets = random_case(50, 6, seed=9)
    columns = logits.t().contiguous().t()
    assert not columns.is_contiguous()
    torch.testing.assert_close(focal_loss()(columns, targets), focal_loss()(logits, targets))


def test_the_forward_and_backward_pass_never_read_a_value_on_the_host(focal_loss):
    # On the meta device there are no values: .item(), nonzero() and boolean indexing raise.
    logits = torch.zeros(8, 3, device="meta", requires_grad=True)
    focal_loss()(logits, sparse_targets({1: 0}, [2]).to(torch.device("meta"))).backward()
    assert logits.grad.shape == (8, 3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_backward_keeps_at_most_four_tensors_of_the_size_of_the_logits(focal_loss, gamma):
    logits, targets = random_case(400, 50, seed=10)
    logits.requires_grad_()
    kept: set[int] = set()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.numel() >= logits.numel() and tensor.data_ptr() != logits.data_ptr():
            kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = focal_loss(gamma=gamma)(logits, targets)
    assert value.requires_grad
    assert len(kept) <= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"alpha must be between 0 and 1, got 1\.5"),
        ({"alpha": math.nan}, r"alpha must be between 0 and 1"),
        ({"gamma": -1.0}, r"gamma must be at least 0, got -1\.0"),
        ({"gamma": math.inf}, r"gamma must be at least 0, got inf"),
        ({"implementation": "quick"}, r"implementation must be one of fast, plain, got 'quick'"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FocalLoss(**settings)


def test_logits_of_another_rank_are_refused(focal_loss):
    with pytest.raises(ValueError, match=r"\(S, K\), got \(2, 3, 4\)"):
        focal_loss()(torch.zeros(2, 3, 4), sparse_targets())
