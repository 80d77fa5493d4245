"""The closed-form focal loss against the paper's formula in float64, plain autograd and what it must not do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from retina.detection.losses import focal
from retina.detection.losses.focal import focal_sum, plain_focal_sum
from retina.structures import AnchorTargets

GAMMAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0)
ALPHA = 0.25


def sparse_targets(positives: dict[int, int] | None = None, ignored: list[int] | None = None) -> AnchorTargets:
    """Targets with ``positives`` (anchor -> label) and ``ignored`` anchors."""
    chosen = sorted((positives or {}).items())
    boxes = torch.zeros(len(chosen), 4)
    return AnchorTargets(
        torch.tensor([anchor for anchor, _ in chosen], dtype=torch.int64),
        torch.tensor([label for _, label in chosen], dtype=torch.int64),
        boxes,
        boxes,
        torch.tensor(sorted(ignored or []), dtype=torch.int64),
    )


def edge_case(rows: int, classes: int, *, seed: int, spread: float = 3.0) -> tuple[Tensor, AnchorTargets]:
    """Logits around the prior 0.01; first and last row positive, rows around each tenth positive or ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * spread - 4.6
    positives = {row: (row * 7) % classes for row in (0, rows - 1, *range(9, rows, 10), *range(10, rows, 10))}
    ignored = [row for row in (1, rows - 2, *range(13, rows, 20)) if row not in positives]
    return logits, sparse_targets(positives, ignored)


def value_and_gradient(function, logits: Tensor, targets: AnchorTargets, gamma: float, scale: float = 1.0):
    leaf = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    value = function(leaf, targets, ALPHA, gamma)
    (value * scale).backward()
    return value.detach(), leaf.grad


def paper(logits: Tensor, targets: AnchorTargets, alpha: float, gamma: float) -> Tensor:
    """Lin et al. 2017, eq. 5, word for word in float64: sum of -alpha_t (1 - p_t)^gamma log(p_t)."""
    x = logits.double()
    present = torch.zeros(x.shape, dtype=torch.bool)
    present[targets.positive_index, targets.positive_labels] = True
    kept = torch.ones(len(x), 1, dtype=torch.float64).index_fill(0, targets.ignored_index, 0.0)
    log_p_t = F.logsigmoid(torch.where(present, x, -x))
    focus = torch.exp(gamma * F.logsigmoid(torch.where(present, -x, x)))  # (1 - p_t)^gamma
    return -(torch.where(present, alpha, 1 - alpha) * focus * log_p_t * kept).sum()


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of ten rows of four classes, so that the special rows of ``edge_case`` lie at their edges."""
    monkeypatch.setattr(focal, "ELEMENTS_PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 40)


def test_the_slope_of_an_undecided_score_is_the_value_computed_by_hand():
    # p = 1/2, c = ln 2, gamma 2: slope 1/4 (2 * 1/2 * ln 2 + 1/2); alpha 1/4 where present, 3/4 where absent.
    slope = 0.25 * (math.log(2) + 0.5)
    _, gradient = value_and_gradient(focal_sum, torch.zeros(3, 2), sparse_targets({1: 1}, [2]), 2.0)
    expected = torch.tensor([[0.75, 0.75], [0.75, -0.25], [0.0, 0.0]]) * slope
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("classes", [1, 4, 80, 365])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_are_those_of_the_paper_by_autograd_in_float64(gamma, classes):
    logits, targets = edge_case(103, classes, seed=1)
    value, gradient = value_and_gradient(focal_sum, logits, targets, gamma)
    expected_value, expected = value_and_gradient(paper, logits.double(), targets, gamma)
    assert value.item() == pytest.approx(expected_value.item(), rel=5e-7)
    torch.testing.assert_close(gradient.double(), expected, rtol=3e-6 * (1 + gamma), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("rows", [39, 40, 41, 100])
@pytest.mark.usefixtures("small_chunks")
def test_fast_and_plain_agree_over_chunks_with_positives_at_their_edges(rows, gamma, dtype):
    logits, targets = edge_case(rows, 4, seed=2)
    logits = logits.to(dtype)
    assert len(list(focal._chunks(logits, num_buffers=1))) == math.ceil(rows / 10)
    value, gradient = value_and_gradient(focal_sum, logits, targets, gamma, scale=0.3)
    plain_value, plain_gradient = value_and_gradient(plain_focal_sum, logits, targets, gamma, scale=0.3)
    assert value.dtype == plain_value.dtype
    assert gradient.dtype == dtype
    digits = 1e-13 if dtype == torch.float64 else 3e-6 * (1 + gamma)
    torch.testing.assert_close(value, plain_value, rtol=digits, atol=0)
    torch.testing.assert_close(gradient, plain_gradient, rtol=digits + torch.finfo(dtype).eps, atol=6e-8 * 2)


@pytest.mark.usefixtures("small_chunks")
def test_chunks_leave_the_result_as_it_is(monkeypatch):
    logits, targets = edge_case(101, 4, seed=3)
    chunked = value_and_gradient(focal_sum, logits, targets, 2.0)
    monkeypatch.setattr(focal, "ELEMENTS_PER_THREAD", 1_000_000)
    assert len(list(focal._chunks(logits, num_buffers=1))) == 1
    torch.testing.assert_close(chunked, value_and_gradient(focal_sum, logits, targets, 2.0), rtol=2e-7, atol=1e-9)


def test_a_row_longer_than_a_chunk_is_a_chunk(monkeypatch):
    monkeypatch.setattr(focal, "ELEMENTS_PER_THREAD", 1)
    logits, targets = edge_case(30, 50, seed=4)
    assert len(list(focal._chunks(logits, num_buffers=1))) == 30
    value, gradient = value_and_gradient(focal_sum, logits, targets, 1.5)
    expected_value, expected = value_and_gradient(plain_focal_sum, logits, targets, 1.5)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_the_sum_over_a_million_elements_keeps_two_parts_in_ten_million(gamma):
    logits, targets = edge_case(15_000, 80, seed=5, spread=1.5)
    expected = paper(logits, targets, ALPHA, gamma).item()
    assert focal_sum(logits, targets, ALPHA, gamma).item() == pytest.approx(expected, rel=2e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("on_cpu", [True, False], ids=["CPU", "device"])
def test_softplus_is_exact_to_the_last_digits_everywhere(on_cpu, dtype, monkeypatch):
    monkeypatch.setattr(focal, "_on_cpu", lambda tensor: on_cpu)
    extremes = torch.tensor([-1e4, -104.0, -87.5, -16.7, 0.0, 16.6, 36.8, 40.0, 87.4, 89.0, 104.0, 710.0, 1e4])
    x = torch.cat([torch.linspace(-80, 120, 200_001), extremes]).to(dtype)
    out = torch.empty_like(x)
    focal._softplus(x, x.sigmoid(), torch.empty_like(x), out=out)
    wide = x.double()
    expected = wide.clamp(min=0) + torch.log1p(torch.exp(-wide.abs()))
    torch.testing.assert_close(out.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny)


@pytest.mark.parametrize("infinite", [math.inf, -math.inf, math.nan])
def test_logits_that_are_not_finite_are_not_hidden(infinite):
    logits = torch.tensor([[infinite, 0.0]])
    value = focal_sum(logits, sparse_targets(), ALPHA, 2.0).item()
    if infinite == -math.inf:  # certainly absent
        assert value == pytest.approx(0.75 * 0.25 * math.log(2))
    else:
        assert not math.isfinite(value)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_path_of_a_device_gives_what_that_of_the_cpu_gives(gamma, monkeypatch):
    logits, targets = edge_case(200, 7, seed=6)
    expected = value_and_gradient(focal_sum, logits, targets, gamma)
    monkeypatch.setattr(focal, "_on_cpu", lambda tensor: False)
    monkeypatch.setattr(focal, "ELEMENTS_ON_DEVICE", 100)
    torch.testing.assert_close(value_and_gradient(focal_sum, logits, targets, gamma), expected, rtol=1e-6, atol=1e-9)


def test_going_backward_twice_adds_the_gradient_twice():
    logits, targets = edge_case(60, 4, seed=7)
    _, once = value_and_gradient(focal_sum, logits, targets, 2.0)
    logits.requires_grad_()
    value = focal_sum(logits, targets, ALPHA, 2.0)
    (first,) = torch.autograd.grad(value, logits, grad_outputs=torch.tensor(3.0), retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(value, logits, grad_outputs=torch.tensor(-0.5), retain_graph=True)
    value.backward()
    torch.testing.assert_close(first, kept, rtol=0, atol=0)
    torch.testing.assert_close(first, 3.0 * once)
    torch.testing.assert_close(second, -0.5 * once)
    torch.testing.assert_close(logits.grad, once, rtol=0, atol=0)


def test_a_loss_that_counts_for_nothing_has_a_gradient_of_zero_also_at_saturation():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [17.0, -17.0]])
    _, gradient = value_and_gradient(focal_sum, logits, sparse_targets({0: 1, 1: 0}), 0.25, scale=0.0)
    assert torch.equal(gradient, torch.zeros_like(logits))


def test_two_uses_of_the_loss_add_up():
    logits, targets = edge_case(60, 4, seed=8)
    logits.requires_grad_()
    other = sparse_targets({5: 2})
    (focal_sum(logits * 2, targets, ALPHA, 2.0) + focal_sum(logits, other, ALPHA, 2.0)).backward()
    _, doubled = value_and_gradient(focal_sum, 2 * logits.detach(), targets, 2.0)
    _, single = value_and_gradient(focal_sum, logits.detach(), other, 2.0)
    torch.testing.assert_close(logits.grad, 2 * doubled + single)


def test_float16_gradients_are_rounded_after_the_loss_scale():
    # p = 3.4e-4, slope 0.75 * 3 p^3 = 8.6e-11: nothing in float16 by itself, 5.6e-6 times the scale of a GradScaler.
    logits, targets = torch.full((4, 3), -8.0, dtype=torch.float16), sparse_targets()
    _, gradient = value_and_gradient(focal_sum, logits, targets, 2.0, scale=65536.0)
    _, expected = value_and_gradient(paper, logits.double(), targets, 2.0, scale=65536.0)
    assert torch.equal(gradient, expected.to(torch.float16))
    assert gradient.abs().min() > 5e-6


def test_a_second_derivative_is_refused_and_the_way_out_named():
    logits, targets = edge_case(30, 4, seed=9)
    logits.requires_grad_()
    value = focal_sum(logits, targets, ALPHA, 2.0)
    (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
    _, expected = value_and_gradient(focal_sum, logits, targets, 2.0)
    assert torch.equal(gradient, expected)
    message = r"fast focal loss has no second derivative; choose loss\.classification\.implementation=plain"
    with pytest.raises(RuntimeError, match=message):
        gradient.square().sum().backward()


def test_logits_changed_before_going_backward_are_refused():
    logits, targets = edge_case(30, 4, seed=10)
    leaf = logits.requires_grad_()
    changed = leaf * 1.0
    value = focal_sum(changed, targets, ALPHA, 2.0)
    changed.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_value_is_the_same_and_nothing_is_kept(mode):
    logits, targets = edge_case(60, 4, seed=11)
    logits.requires_grad_()
    expected = focal_sum(logits, targets, ALPHA, 2.0)
    with mode():
        value = focal_sum(logits, targets, ALPHA, 2.0)
    assert expected.requires_grad
    assert not value.requires_grad
    assert value.item() == expected.item() == focal_sum(logits.detach(), targets, ALPHA, 2.0).item()


def test_logits_and_targets_stay_as_they_are():
    logits, targets = edge_case(60, 4, seed=12)
    before = logits.clone()
    positives = targets.positive_index.clone()
    focal_sum(logits.requires_grad_(), targets, ALPHA, 2.0).backward()
    assert torch.equal(logits, before)
    assert torch.equal(targets.positive_index, positives)


def test_logits_that_are_a_view_of_any_order_are_read_where_they_lie():
    logits, targets = edge_case(60, 4, seed=13)
    expected = value_and_gradient(focal_sum, logits, targets, 2.0)
    stored = torch.zeros(8, 120)
    stored[::2, ::2] = logits.t()
    stored.requires_grad_()
    value = focal_sum(stored[::2, ::2].t(), targets, ALPHA, 2.0)
    value.backward()
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(stored.grad[::2, ::2].t(), expected[1])
    _, gradient = value_and_gradient(focal_sum, logits.t().contiguous().t(), targets, 2.0)
    assert gradient.stride() == (1, 60)


def test_torch_func_grad_gives_the_same_gradient():
    logits, targets = edge_case(60, 4, seed=14)
    _, expected = value_and_gradient(focal_sum, logits, targets, 2.0)
    gradient = torch.func.grad(lambda x: focal_sum(x, targets, ALPHA, 2.0))(logits)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_no_value_is_asked_of_fake_tensors():
    with FakeTensorMode():
        logits = torch.zeros(60, 4).requires_grad_()
        value = focal_sum(logits, sparse_targets({3: 1}, [7]), ALPHA, 2.0)
        value.backward()
    assert value.dtype == torch.float32
    assert logits.grad.shape == (60, 4)


class StoragesSeen(TorchDispatchMode):
    """Keeps the storage of everything that operations return, so that no address comes twice, and its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.kept.append(leaf)
                self.sizes[leaf.untyped_storage().data_ptr()] = leaf.untyped_storage().nbytes()
        return result


@pytest.mark.usefixtures("small_chunks")
def test_nothing_of_the_size_of_the_logits_is_made_but_their_gradient():
    logits, _ = edge_case(2000, 4, seed=15)
    targets = sparse_targets({0: 1, 999: 2, 1999: 3}, [5, 6])
    sizes = {}
    for function in (focal_sum, plain_focal_sum):
        leaf = logits.clone().requires_grad_()
        with StoragesSeen() as seen:
            # Not backward(), which copies a gradient that somebody else holds, as this record does.
            torch.autograd.grad(function(leaf, targets, ALPHA, 2.0), leaf)
        # Every anchor has a float32 sum, in plain autograd also others of up to 8 bytes: half the size of its logits.
        sizes[function] = [size for size in seen.sizes.values() if size > 8 * len(logits)]
    assert sizes[focal_sum] == [logits.nbytes] * 2  # the logits, read in slices, and the gradient
    assert len(sizes[plain_focal_sum]) > 4


def test_only_the_logits_and_the_targets_are_kept_for_going_backward():
    logits, targets = edge_case(60, 4, seed=16)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        focal_sum(logits.requires_grad_(), targets, ALPHA, 2.0)
    given = [logits, targets.positive_index, targets.positive_labels, targets.ignored_index]
    assert [tensor.data_ptr() for tensor in kept] == [tensor.data_ptr() for tensor in given]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.usefixtures("small_chunks")
def test_fast_and_plain_agree_with_one_alpha_a_class(gamma, dtype):
    logits, targets = edge_case(41, 4, seed=17)
    logits, alpha = logits.to(dtype), torch.tensor([0.0, 0.25, 0.6, 1.0])
    values, slopes = [], []
    for function in (focal_sum, plain_focal_sum):
        leaf = logits.clone().requires_grad_()
        value = function(leaf, targets, alpha, gamma)
        (value * 0.3).backward()
        values.append(value.detach())
        slopes.append(leaf.grad)
    digits = 1e-13 if dtype == torch.float64 else 3e-6 * (1 + gamma)
    assert (values[0].dtype, slopes[0].dtype) == (values[1].dtype, dtype)
    torch.testing.assert_close(*values, rtol=digits, atol=0)
    torch.testing.assert_close(*slopes, rtol=digits + torch.finfo(dtype).eps, atol=6e-8 * 2)


def test_float16_gradients_with_one_alpha_a_class_are_rounded_after_the_loss_scale():
    logits, targets = torch.full((4, 3), 8.0, dtype=torch.float16).requires_grad_(), sparse_targets({1: 2})
    (focal_sum(logits, targets, torch.full((3,), 0.25), 2.0) * 65536.0).backward()
    _, expected = value_and_gradient(paper, logits.detach().double(), targets, 2.0, scale=65536.0)
    assert logits.grad[1, 2] == expected[1, 2].to(torch.float16)
    assert 0 < logits.grad[1, 2].abs() < 1e-4
