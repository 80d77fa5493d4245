"""What is built of a composed configuration: the parts of a run, and the numbers that the builder fills in."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from retina.commands import building as build
from retina.commands.building import (
    Machine,
    build_assigner,
    build_criterion,
    build_model,
    build_node,
    build_optimizer,
    fit_to_loss,
    run_settings,
    seed_everything,
)
from retina.config.compose import compose_config, group_options
from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError
from retina.settings import ImageSettings, RunSettings
from retina.structures import AnchorTargets, BackgroundHeat, Predictions

CPU = Machine(torch.device("cpu"), "float32")


@pytest.fixture
def compose(small):
    """Compose the small run with more overrides."""
    return lambda *overrides: compose_config("train", [*small, *overrides]).config


def test_the_scalars_of_a_run_become_its_dataclasses(compose):
    run = run_settings(compose("image.short_side=48", "run_dir=somewhere", "eval.every=2epoch"))
    assert isinstance(run, RunSettings)
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


def test_what_a_constructor_tells_the_user_is_told_as_it_is():
    # Hydra wraps it into an exception of its own, which would look like a bug of ours.
    node = {
        "_target_": "retina.models.retinanet.build_retinanet",
        "backbone": {"groups": 32, "depth": 18},
        "weights": None,
    }
    with pytest.raises(
        ConfigError, match=r"^error: model\.backbone\.groups and width_per_group need a depth of at least 50$"
    ):
        build_node(node, num_classes=3, num_anchors=9)


@pytest.mark.parametrize(
    ("node", "what", "why"),
    [
        ({"_target_": "retina.detection.losses.overlap.FocalEIoULoss", "gamma": -1}, "FocalEIoULoss", "got -1"),
        ([{"_target_": "albumentations.HorizontalFlip", "p": 7}], "HorizontalFlip", "p Input should be less than"),
        ({"_target_": "retina.nowhere.X"}, "retina.nowhere.X", "No module named"),
    ],
)
def test_a_value_that_a_constructor_refuses_is_a_mistake_in_the_configuration(node, what, why):
    with pytest.raises(ConfigError, match=rf"{what} cannot be built with these settings") as caught:
        build_node(node)
    assert why in caught.value.why


def test_lists_of_nodes_are_built_one_by_one():
    flips = build_node([{"_target_": "albumentations.HorizontalFlip", "p": p} for p in (0.25, 1.0)])
    assert [flip.p for flip in flips] == [0.25, 1.0]


def test_one_section_makes_the_anchors_and_the_assigner():
    node = {"_target_": "ignored", "strides": [8, 16], "scales": [1.0], "positive_iou": 0.6, "crowd_ignore": None}
    assigner = build_assigner(node)
    assert assigner.anchors == AnchorGenerator(strides=[8, 16], scales=[1.0])
    assert (assigner.positive_iou, assigner.negative_iou, assigner.crowd_ignore) == (0.6, 0.4, None)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_model_has_the_classes_and_anchors_it_is_given_and_the_memory_format(compose, channels_last):
    model = build_model(compose().model, num_classes=7, num_anchors=3, machine=CPU, channels_last=channels_last)
    weight = model.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    outputs = [module.out_channels for module in model.class_subnet.modules() if isinstance(module, torch.nn.Conv2d)]
    assert outputs[-1] == 7 * 3


def test_the_learning_rate_is_scaled_to_the_batch(compose):
    model = torch.nn.Linear(2, 2)
    sgd = compose("optimizer=sgd", "optimizer.lr=0.01", "optimizer.lr_batch_size=16")
    assert build_optimizer(sgd, model, 2).param_groups[0]["lr"] == pytest.approx(0.00125)
    unscaled = compose("optimizer=sgd", "optimizer.lr=0.01", "optimizer.lr_batch_size=null")
    assert build_optimizer(unscaled, model, 2).param_groups[0]["lr"] == 0.01
    assert "lr_batch_size" in sgd.optimizer, "the configuration is saved as it was"


def positives() -> tuple[Predictions, AnchorTargets]:
    anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])
    targets = AnchorTargets(
        torch.arange(2), torch.zeros(2, dtype=torch.int64), anchors + 1, anchors, torch.zeros(0, dtype=torch.int64),
        heat=BackgroundHeat.empty(),
    )  # fmt: skip
    return Predictions(torch.zeros(1, 2, 6), torch.zeros(2, 4), [(1, 2)], torch.arange(2)), targets


def test_a_loss_that_normalises_itself_sums_over_the_ranks_in_training_only(compose, monkeypatch):
    asked = []
    monkeypatch.setattr(build.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = build_criterion(compose("loss/box=focal_eiou", "loss.box.normalise_weights=true"))
    assert not criterion.additive
    criterion(*positives())
    assert len(asked) == 1
    # In evaluation one rank may have more batches than another, which would never answer.
    criterion.eval()(*positives())
    assert len(asked) == 1


def test_a_sum_over_anchors_asks_no_other_rank(compose, monkeypatch):
    monkeypatch.setattr(build.distributed, "sum_tensor_over_ranks", lambda value: pytest.fail("asked"))
    criterion = build_criterion(compose("loss/box=eiou"))
    assert criterion.additive
    assert set(criterion(*positives())) == {"classification", "box"}


def test_boxes_may_be_weighed_by_the_scores_whatever_their_loss(compose, monkeypatch):
    asked = []
    monkeypatch.setattr(build.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = build_criterion(compose("loss/box=giou", "loss.box.focal_gamma=1.5"))
    assert criterion.focal_weights.gamma == 1.5
    assert not criterion.additive
    criterion(*positives())
    assert len(asked) == 1


@pytest.mark.parametrize("option", group_options()["loss/classification"])
def test_every_classification_loss_is_built_and_asks_the_ranks_only_if_it_must(compose, option, monkeypatch):
    asked = []
    monkeypatch.setattr(build.distributed, "sum_tensor_over_ranks", lambda value: asked.append(value) or value)
    criterion = build_criterion(compose(f"loss/classification={option}", "loss/box=l1"))
    losses = criterion(*positives())
    assert torch.isfinite(losses["classification"])
    assert len(asked) == (0 if criterion.additive else 1)


def test_a_network_or_post_processing_for_other_scores_is_a_mistake(compose):
    softmax = build_criterion(compose("loss/classification=softmax_focal")).classification
    for setting in ("model.scores", "postprocess.scores"):
        with pytest.raises(ConfigError, match=rf"{setting}=sigmoid does not fit loss\.classification.*softmax"):
            fit_to_loss(compose(f"+{setting}=sigmoid"), softmax, 6)
    focal = build_criterion(compose()).classification
    with pytest.raises(ConfigError, match=r"postprocess\.scores=softmax does not fit"):
        fit_to_loss(compose("+postprocess.scores=softmax"), focal, 6)
    config = compose()
    assert fit_to_loss(config, focal, 6) is config


def test_a_list_of_weights_for_another_number_of_classes_is_a_mistake(compose):
    loss = build_criterion(compose("loss.classification.alpha=[0.2,0.3]")).classification
    assert fit_to_loss(compose(), loss, 2) is not None
    with pytest.raises(ConfigError, match=r"loss\.classification\.alpha has 2 weights for 6 classes"):
        fit_to_loss(compose(), loss, 6)
