from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from retina.training.ema import Ema


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def shift(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_the_first_update_keeps_a_tenth_of_the_start():
    model = small_model()
    start = model[0].weight.detach().clone()
    ema = Ema(model, 0.999)
    shift(model, 1.0)
    ema.update(model)  # n = 0: decay (1 + 0) / (10 + 0)
    torch.testing.assert_close(ema.model[0].weight, start + 0.9)
    assert ema.num_updates == 1


def test_the_decay_is_the_given_one_after_the_ramp():
    model = small_model()
    ema = Ema(model, 0.9)
    for _ in range(200):  # (1 + n) / (10 + n) passes 0.9 at n = 80
        ema.update(model)
    before = ema.model[0].weight.clone()
    shift(model, 1.0)
    ema.update(model)
    torch.testing.assert_close(ema.model[0].weight, before + 0.1)


def test_it_agrees_with_a_plain_loop_over_every_tensor():
    model = small_model()
    ema = Ema(model, 0.95)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for n in range(30):
        shift(model, 0.1 * n)
        model(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(n)))  # moves BatchNorm's buffers
        ema.update(model)
        decay = min(0.95, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = expected[name] * decay + value * (1 - decay)
            else:
                expected[name] = value.clone()
    torch.testing.assert_close(dict(ema.model.state_dict()), expected)


def test_counts_are_copied_and_not_averaged():
    model = small_model()
    ema = Ema(model, 0.999)
    model(torch.randn(2, 3, 5, 5))
    ema.update(model)
    assert ema.model[1].num_batches_tracked == 1


def test_the_copy_evaluates_and_does_not_train():
    model = small_model().train()
    ema = Ema(model, 0.9)
    assert not any(module.training for module in ema.model.modules())
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_parameters_stay_bit_for_bit():
    model = small_model()
    model[0].requires_grad_(False)
    ema = Ema(model, 0.9)
    for _ in range(5):
        shift(model[2], 0.1)
        ema.update(model)
    with torch.no_grad():
        model[0].bias.fill_(float("nan"))  # not even looked at
    ema.update(model)
    assert ema.model[0].bias.isfinite().all()
    assert torch.equal(ema.model[0].weight, model[0].weight)
    assert not torch.equal(ema.model[2].weight, model[2].weight)


def test_going_on_from_a_saved_state_gives_the_same_weights():
    model = small_model()
    ema = Ema(model, 0.999)
    for _ in range(3):
        shift(model, 0.5)
        ema.update(model)
    resumed = Ema(small_model(), 0.999)
    resumed.load_state_dict(copy.deepcopy(ema.state_dict()))
    for average in (ema, resumed):
        average.update(model)
    assert resumed.num_updates == ema.num_updates == 4
    for name, value in ema.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_outside_its_range_is_named(decay):
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got"):
        Ema(small_model(), decay)
