"""What is built of settings and sections, and the numbers that the program fills in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from retina.build import build
from retina.commands import assemble
from retina.commands.assemble import build_criterion, fit_to_loss, seed_everything
from retina.config.compose import group_options
from retina.detection.anchors import AnchorGenerator
from retina.detection.criterion import Criterion
from retina.errors import ConfigError
from retina.machine import Machine
from retina.models.network import build_model
from retina.settings import ImageSettings, RunSettings
from retina.structures import AnchorTargets, BackgroundHeat, Predictions
from tests.jobs import CPU, job


@pytest.fixture
def sections(small) -> Callable[..., dict[str, Any]]:
    """The sections of the small run with more words."""
    return lambda *words: job("train", *small, *words)[1]


def criterion_of(*words: str) -> Criterion:
    settings, sections = job("train", *words)
    return build_criterion(sections["loss"], settings.loss.focal_gamma)


def test_the_scalars_of_a_run_become_its_dataclasses(small):
    run, sections = job("train", *small, "image.short_side=48", "run_dir=somewhere", "eval.every=2epoch")
    assert isinstance(run, RunSettings)
    assert {"image", "train", "eval", "run_dir"} & set(sections) == set()
    assert run.image == ImageSettings(48, 64, reduced_decoding=True)
    assert (run.train.batch_size, run.eval.every, run.run_dir, run.resume) == (4, "2epoch", "somewhere", None)


def test_a_machine_knows_what_auto_means_on_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    machine = Machine.resolve(torch.device("cpu"), "auto")
    assert machine.precision == "bf16"
    with machine.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_a_seed_decides_all_that_is_drawn_without_a_key():
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_one_section_makes_the_anchors_and_the_assigner():
    _, sections = job("train", "anchors.strides=[8,16]", "anchors.positive_iou=0.6", "anchors.crowd_ignore=null")
    assigner = build(sections["anchors"])
    assert isinstance(assigner.anchors, AnchorGenerator)
    assert (assigner.anchors.strides, assigner.anchors.base_scale) == ((8, 16), 4.0)
    assert (assigner.positive_iou, assigner.negative_iou, assigner.crowd_ignore) == (0.6, 0.4, None)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_model_has_the_classes_and_anchors_it_is_given_and_the_memory_format(sections, channels_last):
    model = build_model(sections()["model"], num_classes=7, num_anchors=3, machine=CPU, channels_last=channels_last)
    weight = model.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    outputs = [module.out_channels for module in model.class_subnet.modules() if isinstance(module, torch.nn.Conv2d)]
    assert outputs[-1] == 7 * 3


@pytest.mark.parametrize(("lr_batch_size", "lr"), [(16, 0.00125), ("null", 0.01)])
def test_the_learning_rate_is_scaled_to_the_batch(lr_batch_size, lr):
    words = ("optimizer=sgd", "optimizer.lr=0.01", f"optimizer.lr_batch_size={lr_batch_size}")
    optimizer = build(job("train", *words)[1]["optimizer"], model=torch.nn.Linear(2, 2), batch_size=2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(lr)


def positives() -> tuple[Predictions, AnchorTargets]:
    anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])
    targets = AnchorTargets(
        torch.arange(2), torch.zeros(2, dtype=torch.int64), anchors + 1, anchors, torch.zeros(0, dtype=torch.int64),
        heat=BackgroundHeat.empty(),
    )  # fmt: skip
    return Predictions(torch.zeros(1, 2, 6), torch.zeros(2, 4), [(1, 2)], torch.arange(2)), targets


def test_a_loss_that_normalises_itself_sums_over_the_ranks_in_training_only(monkeypatch):
    asked = []
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = criterion_of("loss/box=focal_eiou", "loss.box.normalise_weights=true")
    assert not criterion.additive
    criterion(*positives())
    assert len(asked) == 1
    # In evaluation one rank may have more batches than another, which would never answer.
    criterion.eval()(*positives())
    assert len(asked) == 1


def test_a_sum_over_anchors_asks_no_other_rank(monkeypatch):
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", lambda value: pytest.fail("asked"))
    criterion = criterion_of("loss/box=eiou")
    assert criterion.additive
    assert set(criterion(*positives())) == {"classification", "box"}


def test_boxes_may_be_weighed_by_the_scores_whatever_their_loss(monkeypatch):
    asked = []
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = criterion_of("loss/box=giou", "loss.focal_gamma=1.5")
    assert criterion.focal_weights.gamma == 1.5
    assert not criterion.additive
    criterion(*positives())
    assert len(asked) == 1


@pytest.mark.parametrize("option", group_options()["loss/classification"])
def test_every_classification_loss_is_built_and_asks_the_ranks_only_if_it_must(option, monkeypatch):
    asked = []
    monkeypatch.setattr(assemble.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = criterion_of(f"loss/classification={option}", "loss/box=l1")
    losses = criterion(*positives())
    assert torch.isfinite(losses["classification"])
    assert len(asked) == (0 if criterion.additive else 1)


def test_a_network_or_post_processing_for_other_scores_is_a_mistake(sections):
    softmax = criterion_of("loss/classification=softmax_focal").classification
    for setting in ("model.scores", "postprocess.scores"):
        with pytest.raises(ConfigError, match=rf"{setting}=sigmoid does not fit loss\.classification.*softmax"):
            fit_to_loss(sections(f"+{setting}=sigmoid"), softmax, 6)
    focal = criterion_of().classification
    with pytest.raises(ConfigError, match=r"postprocess\.scores=softmax does not fit"):
        fit_to_loss(sections("+postprocess.scores=softmax"), focal, 6)
    assert fit_to_loss(sections(), focal, 6) == sections()


def test_a_list_of_weights_for_another_number_of_classes_is_a_mistake(sections):
    loss = criterion_of("loss.classification.alpha=[0.2,0.3]").classification
    assert fit_to_loss(sections(), loss, 2) is not None
    with pytest.raises(ConfigError, match=r"loss\.classification\.alpha has 2 weights for 6 classes"):
        fit_to_loss(sections(), loss, 6)
