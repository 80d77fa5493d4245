from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from retina.errors import ConfigError
from retina.training.optimizers import build_adamw, build_sgd
from retina.training.schedules import scaled_lr


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 2)
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    inputs = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def test_adamw_decays_convolutions_and_linear_layers_only():
    model = small_model()
    decayed, plain = build_adamw(model, lr=1e-3, weight_decay=0.05).param_groups
    assert decayed["weight_decay"] == 0.05
    assert plain["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[4].weight)}
    assert {id(p) for p in plain["params"]} == {id(model[1].weight), id(model[1].bias), id(model[4].bias)}


def test_sgd_decays_everything_as_the_standard_recipe_does():
    model = small_model()
    (group,) = build_sgd(model, lr=0.01, momentum=0.9, weight_decay=1e-4).param_groups
    assert len(group["params"]) == len(list(model.parameters())) == 5
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 1e-4)


def test_sgd_spares_norms_and_biases_where_asked():
    groups = build_sgd(small_model(), lr=0.01, decay_norm_and_bias=False).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 1e-4), (3, 0.0)]


def test_frozen_parameters_are_left_out():
    model = small_model()
    model[0].requires_grad_(False)
    (group,) = build_sgd(model, lr=0.01).param_groups
    assert all(parameter is not model[0].weight for parameter in group["params"])
    assert len(group["params"]) == 4


def test_no_group_is_empty():
    model = nn.Sequential(nn.BatchNorm2d(3))
    (group,) = build_adamw(model, lr=0.01).param_groups
    assert group["weight_decay"] == 0


def test_a_model_that_is_frozen_whole_is_an_error():
    with pytest.raises(ConfigError, match="the model has no trainable parameter"):
        build_adamw(small_model().requires_grad_(False), lr=0.01)


def test_the_one_kernel_update_is_taken_on_the_cpu_and_can_be_switched_off():
    assert build_sgd(small_model(), lr=0.01).defaults["fused"] is True
    assert build_sgd(small_model(), lr=0.01, fused=False).defaults["fused"] is False
    assert build_adamw(small_model(), lr=0.01).defaults["fused"] is True


@pytest.mark.parametrize("build", [build_sgd, build_adamw])
def test_fused_and_plain_updates_give_the_same_weights(build):
    model = small_model()
    twin = copy.deepcopy(model)
    fused = train(model, build(model, lr=0.01, fused=True))
    plain = train(twin, build(twin, lr=0.01, fused=False))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


def test_nesterov_is_handed_on():
    assert build_sgd(small_model(), lr=0.01, nesterov=True).defaults["nesterov"] is True


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (build_sgd, {"lr": 0.0}, "lr must be greater than 0, got 0.0"),
        (build_sgd, {"lr": 0.1, "lr_batch_size": 0}, "lr_batch_size must be at least 1, got 0"),
        (build_sgd, {"lr": 0.1, "momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        (build_adamw, {"lr": 0.1, "betas": [0.9, 1.0]}, "betas must be at least 0 and below 1, got 1.0 in it"),
        (build_adamw, {"lr": 0.1, "weight_decay": -1}, "weight_decay must be at least 0, got -1"),
    ],
)
def test_a_value_outside_of_its_range_is_named(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(small_model(), **settings)


def test_betas_must_be_two():
    with pytest.raises(ValueError, match=r"optimizer\.betas must be two numbers, got \[0\.9\]"):
        build_adamw(small_model(), lr=0.01, betas=[0.9])


def test_the_learning_rate_is_scaled_linearly_or_not_at_all():
    assert scaled_lr(0.01, 16, 2) == 0.00125
    assert scaled_lr(0.01, None, 2) == 0.01
    assert build_sgd(small_model(), batch_size=2, lr=0.01).param_groups[0]["lr"] == 0.00125
    assert build_adamw(small_model(), batch_size=2, lr=0.01).param_groups[0]["lr"] == 0.01
