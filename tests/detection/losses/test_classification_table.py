"""Every classification loss against its paper's formula in float64, and what all of them promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from retina.detection.losses.classification import (
    BalancedCrossEntropyLoss,
    ClassificationLoss,
    CrossEntropyLoss,
    FocalLoss,
)
from retina.detection.losses.focal_family import QualityFocalLoss, SoftmaxFocalLoss, VarifocalLoss
from retina.detection.losses.self_normalised import FocalDiceLoss, GHMCLoss
from retina.structures import AnchorTargets

CLASSES = 4
GAMMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
ALPHAS = [0.1, 0.25, 0.5, 0.9]


@dataclass
class Dense:
    """What a formula is written on: every anchor that is not ignored, with its targets as tables."""

    logits: Tensor  # (S, K) float64
    present: Tensor  # (S, K) bool
    labels: Tensor  # (S,) in [0, K], K is the background
    quality: Tensor  # (S, K), the IoU where a class is present
    num_positives: int

    @classmethod
    def of(cls, logits: Tensor, targets: AnchorTargets, iou: Tensor, *, num_classes: int) -> Dense:
        kept = torch.ones(len(logits), dtype=torch.bool)
        kept[targets.ignored_index] = False
        present = torch.zeros(len(logits), num_classes, dtype=torch.bool)
        present[targets.positive_index, targets.positive_labels] = True
        quality = torch.zeros(len(logits), num_classes, dtype=torch.float64)
        quality[targets.positive_index, targets.positive_labels] = iou.double()
        labels = torch.full((len(logits),), num_classes)
        labels[targets.positive_index] = targets.positive_labels
        return cls(logits[kept], present[kept], labels[kept], quality[kept], len(targets.positive_index))

    @property
    def log_p_t(self) -> Tensor:
        return F.logsigmoid(torch.where(self.present, self.logits, -self.logits))

    @property
    def log_miss(self) -> Tensor:
        """``log(1 - p_t)``."""
        return F.logsigmoid(torch.where(self.present, -self.logits, self.logits))

    def cross_entropy(self, target: Tensor) -> Tensor:
        return -(target * F.logsigmoid(self.logits) + (1 - target) * F.logsigmoid(-self.logits))


def focal(d: Dense, alpha: float | list[float], gamma: float) -> Tensor:
    """Lin et al. 2017, eq. 5."""
    weight = torch.tensor(alpha, dtype=torch.float32).double()
    alpha_t = torch.where(d.present, weight, 1 - weight)
    return (-alpha_t * torch.exp(gamma * d.log_miss) * d.log_p_t).sum()


def softmax_focal(d: Dense, alpha: list[float], gamma: float) -> Tensor:
    """Sum of -alpha_y (1 - p_y)^gamma log(p_y), with p_y by the definition of the softmax."""
    p = torch.exp(d.logits) / torch.exp(d.logits).sum(dim=1, keepdim=True)
    p_y = p.gather(1, d.labels[:, None])[:, 0]
    weight = torch.tensor(alpha, dtype=torch.float32).double()[d.labels]
    return (-weight * (1 - p_y) ** gamma * torch.log(p_y)).sum()


def quality_focal(d: Dense, beta: float) -> Tensor:
    """Li et al. 2020, definition of QFL."""
    y, sigma = d.quality, torch.sigmoid(d.logits)
    return (-((y - sigma).abs() ** beta) * ((1 - y) * torch.log(1 - sigma) + y * torch.log(sigma))).sum()


def varifocal(d: Dense, alpha: float, gamma: float) -> Tensor:
    """Zhang et al. 2021, eq. 2."""
    q, p = d.quality, torch.sigmoid(d.logits)
    positive = -q * (q * torch.log(p) + (1 - q) * torch.log(1 - p))
    return torch.where(q > 0, positive, -alpha * p**gamma * torch.log(1 - p)).sum()


def ghm_c(d: Dense, bins: int) -> Tensor:
    """Li et al. 2019: the sum of the cross-entropies over GD(g), g = |p - p*|, GD = number in the bin times bins."""
    g = (torch.sigmoid(d.logits) - d.present.double()).abs().detach()
    index = (g * bins).floor().clamp(max=bins - 1)
    density = torch.stack([(index == i).sum() for i in index.flatten()]).view_as(g) * bins
    return max(d.num_positives, 1) * (d.cross_entropy(d.present.double()) / density).sum()


def focal_dice(d: Dense, dice_weight: float, smooth: float) -> Tensor:
    p, t = torch.sigmoid(d.logits), d.present.double()
    dice = 1 - (2 * (p * t).sum(0) + smooth) / ((p**2).sum(0) + (t**2).sum(0) + smooth)
    in_batch = [dice[k] for k in range(t.shape[1]) if t[:, k].any()]
    mean = torch.stack(in_batch).mean() if in_batch else torch.zeros((), dtype=torch.float64)
    return focal(d, 0.25, 2.0) + dice_weight * d.num_positives * mean


SOFTMAX_ALPHAS = [0.3, 0.4, 0.5, 0.6, 0.75]
# The loss and its formula.
TABLE: dict[str, tuple[Callable[[], ClassificationLoss], Callable[[Dense], Tensor]]] = {
    "cross_entropy": (CrossEntropyLoss, lambda d: d.cross_entropy(d.present.double()).sum()),
    "balanced": (lambda: BalancedCrossEntropyLoss(0.75), lambda d: focal(d, 0.75, 0.0)),
    **{f"focal {g}": (lambda g=g: FocalLoss(0.25, g), lambda d, g=g: focal(d, 0.25, g)) for g in GAMMAS},
    **{f"focal alphas {g}": (lambda g=g: FocalLoss(ALPHAS, g), lambda d, g=g: focal(d, ALPHAS, g)) for g in GAMMAS},
    "focal alphas plain": (lambda: FocalLoss(ALPHAS, 2.0, "plain"), lambda d: focal(d, ALPHAS, 2.0)),
    **{
        f"softmax {g}": (
            lambda g=g: SoftmaxFocalLoss(0.25, g),
            lambda d, g=g: softmax_focal(d, [0.25] * CLASSES + [0.75], g),
        )
        for g in GAMMAS
    },
    "softmax alphas": (lambda: SoftmaxFocalLoss(SOFTMAX_ALPHAS), lambda d: softmax_focal(d, SOFTMAX_ALPHAS, 2.0)),
    **{f"quality {b}": (lambda b=b: QualityFocalLoss(b), lambda d, b=b: quality_focal(d, b)) for b in GAMMAS},
    "quality plain": (lambda: QualityFocalLoss(2.0, "plain"), lambda d: quality_focal(d, 2.0)),
    **{f"varifocal {g}": (lambda g=g: VarifocalLoss(0.75, g), lambda d, g=g: varifocal(d, 0.75, g)) for g in GAMMAS},
    "varifocal plain": (lambda: VarifocalLoss(0.6, 2.0, "plain"), lambda d: varifocal(d, 0.6, 2.0)),
    "ghm_c": (GHMCLoss, lambda d: ghm_c(d, 30)),
    "ghm_c 7": (lambda: GHMCLoss(bins=7, momentum=0.0), lambda d: ghm_c(d, 7)),
    "focal_dice": (lambda: FocalDiceLoss(dice_weight=0.7, smooth=2.0), lambda d: focal_dice(d, 0.7, 2.0)),
}
NAMES = list(TABLE)
SATURATED: dict[str, Callable[[float], ClassificationLoss]] = {
    "focal": lambda gamma: FocalLoss(gamma=gamma),
    "focal alphas": lambda gamma: FocalLoss(ALPHAS, gamma),
    "softmax": lambda gamma: SoftmaxFocalLoss(gamma=gamma),
    "quality": QualityFocalLoss,
    "varifocal": lambda gamma: VarifocalLoss(gamma=gamma),
    "ghm_c": lambda gamma: GHMCLoss(momentum=min(gamma / 6, 0.9)),
    "focal_dice": lambda gamma: FocalDiceLoss(gamma=gamma),
}


def sparse_targets(positives: dict[int, int], ignored: list[int]) -> AnchorTargets:
    chosen = sorted(positives.items())
    boxes = torch.zeros(len(chosen), 4)
    return AnchorTargets(
        torch.tensor([anchor for anchor, _ in chosen], dtype=torch.int64),
        torch.tensor([label for _, label in chosen], dtype=torch.int64),
        boxes,
        boxes,
        torch.tensor(sorted(ignored), dtype=torch.int64),
    )


def case(loss: ClassificationLoss, *, rows: int = 60, seed: int = 0) -> tuple[Tensor, AnchorTargets, Tensor]:
    """Logits with every tenth anchor positive, and as many ignored; class 3 is absent; one box misses its object."""
    generator = torch.Generator().manual_seed(seed)
    outputs = CLASSES + (loss.scores == "softmax")
    logits = torch.randn(rows, outputs, generator=generator) * 2.0 - 1.0
    targets = sparse_targets({row: (row // 10) % 3 for row in range(0, rows, 10)}, list(range(5, rows, 10)))
    iou = torch.rand(len(targets.positive_index), generator=generator)
    if len(iou):
        iou[-1] = 0.0
    return logits, targets, iou


def value_of(loss: ClassificationLoss, logits: Tensor, targets: AnchorTargets, iou: Tensor) -> Tensor:
    return loss(logits, targets, iou) if loss.needs_iou else loss(logits, targets)


def value_and_slope(loss: ClassificationLoss, logits: Tensor, targets: AnchorTargets, iou: Tensor):
    leaf = logits.detach().clone().requires_grad_()
    value = value_of(loss, leaf, targets, iou)
    value.backward()
    return value.detach(), leaf.grad


def reference(name: str, logits: Tensor, targets: AnchorTargets, iou: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().double().requires_grad_()
    value = TABLE[name][1](Dense.of(leaf, targets, iou, num_classes=CLASSES))
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_those_of_the_formula_in_float64(name):
    loss = TABLE[name][0]()
    inputs = case(loss)
    value, slope = value_and_slope(loss, *inputs)
    expected, expected_slope = reference(name, *inputs)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_low_precision_logits_are_computed_in_float32(name, dtype):
    loss = TABLE[name][0]()
    logits, targets, iou = case(loss, seed=1)
    logits = logits.to(dtype)
    value, slope = value_and_slope(loss, logits, targets, iou)
    expected, expected_slope = reference(name, logits, targets, iou)
    assert (value.dtype, slope.dtype) == (torch.float32, dtype)
    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_value_where_factors_are_constants(name):
    # Evaluation mode: averages stay as they are from call to call.
    loss = TABLE[name][0]().eval()
    logits, targets, iou = case(loss, rows=20, seed=2)
    assert torch.autograd.gradcheck(
        lambda x: value_of(loss, x, targets, iou.double()), logits.double().requires_grad_(), atol=1e-4
    )


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", [1e4, 90.0, 17.0, 0.0])
@pytest.mark.parametrize("name", SATURATED)
def test_saturated_logits_have_a_finite_loss_and_gradient(name, size, gamma):
    loss = SATURATED[name](gamma)
    logits, targets, iou = case(loss)
    signs = torch.where(torch.arange(logits.numel()).view_as(logits) % 3 == 0, 1.0, -1.0)
    iou[:3] = torch.tensor([0.0, 0.5, 1.0])
    value, slope = value_and_slope(loss, signs * size, targets, iou)
    assert torch.isfinite(value)
    assert value >= 0
    assert torch.isfinite(slope).all()


EMPTY = sparse_targets({}, [])


@pytest.mark.parametrize(
    ("rows", "targets"),
    [(6, EMPTY), (6, sparse_targets({}, [*range(6)])), (0, EMPTY), (3, sparse_targets({0: 0, 1: 0, 2: 0}, []))],
    ids=["no positives", "all ignored", "no anchors", "all positive"],
)
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", [name for name in SATURATED if name != "focal alphas"])
def test_edges_have_a_finite_loss_that_hangs_on_the_logits(name, classes, rows, targets):
    loss = SATURATED[name](2.0)
    logits = torch.zeros(rows, classes + (loss.scores == "softmax"))
    value, slope = value_and_slope(loss, logits, targets, torch.full((len(targets.positive_index),), 0.75))
    assert torch.isfinite(value)
    assert torch.isfinite(slope).all()
    assert (value.item() == 0) is (rows == len(targets.ignored_index))


@pytest.mark.parametrize("name", NAMES)
def test_ignored_anchors_change_nothing_and_learn_nothing(name):
    loss = TABLE[name][0]()
    logits, targets, iou = case(loss, seed=3)
    value, slope = value_and_slope(loss, logits, targets, iou)
    other = logits.clone()
    other[targets.ignored_index] = 1e4
    changed, changed_slope = value_and_slope(TABLE[name][0](), other, targets, iou)
    assert changed.item() == pytest.approx(value.item(), rel=1e-6)
    for gradient in (slope, changed_slope):
        assert gradient[targets.ignored_index].abs().max() == 0
    assert slope[targets.positive_index].abs().min() > 0


def split(targets: AnchorTargets, start: int, stop: int) -> tuple[AnchorTargets, Tensor]:
    inside = (targets.positive_index >= start) & (targets.positive_index < stop)
    ignored = targets.ignored_index[(targets.ignored_index >= start) & (targets.ignored_index < stop)]
    part = replace(
        targets,
        positive_index=targets.positive_index[inside] - start,
        positive_labels=targets.positive_labels[inside],
        positive_boxes=targets.positive_boxes[inside],
        positive_anchors=targets.positive_anchors[inside],
        ignored_index=ignored - start,
    )
    return part, inside


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_additive_losses_are_the_sum_over_the_parts_of_a_batch(name):
    loss = TABLE[name][0]().eval()
    logits, targets, iou = case(loss, seed=4)
    whole = value_of(loss, logits, targets, iou).item()
    parts = 0.0
    for start, stop in ((0, 23), (23, 60)):
        part, inside = split(targets, start, stop)
        parts += value_of(loss, logits[start:stop], part, iou[inside]).item()
    assert (parts == pytest.approx(whole, rel=1e-6)) is loss.additive


@pytest.mark.parametrize("name", ["ghm_c", "focal_dice"])
def test_what_two_ranks_compute_adds_up_to_the_loss_of_the_whole_batch(name):
    logits, targets, iou = case(TABLE[name][0](), seed=5)
    expected, expected_slope = value_and_slope(TABLE[name][0](), logits, targets, iou)
    spans = ((0, 23), (23, 60))

    def run(loss: ClassificationLoss, span: tuple[int, int]):
        return value_and_slope(loss, logits[slice(*span)], split(targets, *span)[0], iou)

    given: list[Tensor] = []  # first what every rank gives, then the sum of it for each
    for span in spans:
        loss = TABLE[name][0]()
        loss.sum_over_ranks = lambda value: given.append(value.detach().clone()) or value
        run(loss, span)
    assert len(given) == 2, "each rank asks once"
    ranks = []
    for span in spans:
        loss = TABLE[name][0]()
        loss.sum_over_ranks = lambda value: given[0] + given[1]
        ranks.append(run(loss, span))
    torch.testing.assert_close(ranks[0][0] + ranks[1][0], expected)
    torch.testing.assert_close(torch.cat([ranks[0][1], ranks[1][1]]), expected_slope)


@pytest.mark.parametrize("name", NAMES)
def test_no_value_is_read_on_the_host(name):
    # On the meta device there are no values: .item(), nonzero() and boolean indexing raise.
    meta = torch.device("meta")
    loss = TABLE[name][0]().to(meta)
    logits, targets, iou = case(loss)
    leaf = logits.to(meta).requires_grad_()
    value_of(loss, leaf, targets.to(meta), iou.to(meta)).backward()
    assert leaf.grad.shape == leaf.shape


@pytest.mark.parametrize("name", NAMES)
def test_logits_stay_as_they_are(name):
    loss = TABLE[name][0]()
    logits, targets, iou = case(loss)
    before = logits.clone()
    value_of(loss, logits, targets, iou)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_positive_anchor_misses_is_one_minus_its_score(name):
    loss = TABLE[name][0]()
    logits, targets, _ = case(loss)
    scores = logits.softmax(dim=1) if loss.scores == "softmax" else logits.sigmoid()
    expected = 1 - scores[targets.positive_index, targets.positive_labels]
    torch.testing.assert_close(loss.miss(logits, targets), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FocalLoss([0.5, 1.5]), r"alpha must be between 0 and 1, got 1\.5"),
        (lambda: SoftmaxFocalLoss(alpha=-0.1), r"alpha must be between 0 and 1"),
        (lambda: SoftmaxFocalLoss(gamma=-1.0), r"gamma must be at least 0"),
        (lambda: QualityFocalLoss(beta=-1.0), r"beta must be at least 0, got -1\.0"),
        (lambda: QualityFocalLoss(implementation="quick"), r"implementation must be one of"),
        (lambda: VarifocalLoss(alpha=2.0), r"alpha must be between 0 and 1"),
        (lambda: VarifocalLoss(gamma=float("nan")), r"gamma must be at least 0"),
        (lambda: GHMCLoss(bins=0), r"bins must be at least 1, got 0"),
        (lambda: GHMCLoss(momentum=1.0), r"momentum must be at least 0 and below 1, got 1\.0"),
        (lambda: FocalDiceLoss(dice_weight=-1.0), r"dice_weight must be at least 0"),
        (lambda: FocalDiceLoss(smooth=-1.0), r"smooth must be at least 0"),
        (lambda: FocalLoss(ALPHAS)(torch.zeros(2, 3), EMPTY), r"alpha has 4 weights for 3 outputs of an anchor"),
        (lambda: SoftmaxFocalLoss()(torch.zeros(2, 1), EMPTY), r"at least one class and the background"),
        (lambda: GHMCLoss()(torch.zeros(2, 3, 4), EMPTY), r"\(S, K\), got \(2, 3, 4\)"),
    ],
)
def test_impossible_settings_and_logits_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
