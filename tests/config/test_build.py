"""What is built of a composed configuration: the parts of a run, and the numbers that the builder fills in."""

from __future__ import annotations

import random
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from retina.config import build
from retina.config.build import (
    Machine,
    build_assigner,
    build_criterion,
    build_model,
    build_node,
    build_optimizer,
    build_parts,
    fit_to_loss,
    open_split,
    run_settings,
    seed_everything,
)
from retina.config.compose import compose_config, group_options
from retina.config.saved import model_config_from
from retina.data.shapes import ShapesFolder
from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError, DataError
from retina.settings import ImageSettings, RunSettings
from retina.structures import AnchorTargets, Predictions
from retina.training.progress import Progress

CPU = Machine(torch.device("cpu"), "float32")


@pytest.fixture
def compose(small):
    """Compose the small run with more overrides."""
    return lambda *overrides: compose_config("train", [*small, *overrides]).config


def parts_of(config: DictConfig, **options: Any):
    folder = ShapesFolder(**{name: value for name, value in config.dataset.items() if name != "_target_"})
    datasets = {split: folder.open(split) for split in ("train", "val")}
    return build_parts(config, run_settings(config), CPU, datasets, **options)


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


@pytest.mark.parametrize(
    ("is_main", "expected"), [(True, ["open val", "barrier"]), (False, ["barrier", "open val"])], ids=["main", "other"]
)
def test_the_main_rank_opens_a_data_set_first(monkeypatch, is_main, expected):
    happened: list[str] = []
    monkeypatch.setattr(build.distributed, "is_main", lambda: is_main)
    monkeypatch.setattr(build.distributed, "barrier", lambda: happened.append("barrier"))
    folder = SimpleNamespace(open=lambda split: happened.append(f"open {split}") or "dataset")
    assert open_split(folder, "val") == "dataset"
    assert happened == expected


def test_the_other_ranks_do_not_wait_for_a_data_set_that_cannot_be_opened(monkeypatch):
    happened: list[str] = []
    monkeypatch.setattr(build.distributed, "barrier", lambda: happened.append("barrier"))

    def fail(split: str) -> None:
        raise DataError(f"no {split}")

    with pytest.raises(DataError):
        open_split(SimpleNamespace(open=fail), "val")
    assert happened == ["barrier"]


def test_what_a_constructor_tells_the_user_is_told_as_it_is():
    # Hydra wraps it into an exception of its own, which would look like a bug of ours.
    node = {"_target_": "retina.models.retinanet.build_retinanet", "backbone": {"depth": 19}, "weights": None}
    with pytest.raises(
        ConfigError, match=r"^error: model\.backbone\.depth must be one of 18, 34, 50, 101, 152, got 19$"
    ):
        build_node(node, num_classes=3, num_anchors=9)


@pytest.mark.parametrize(
    ("node", "what", "why"),
    [
        ({"_target_": "retina.detection.losses.box.FocalEIoULoss", "gamma": -1}, "FocalEIoULoss", "got -1"),
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
        torch.arange(2), torch.zeros(2, dtype=torch.int64), anchors + 1, anchors, torch.zeros(0, dtype=torch.int64)
    )
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
    criterion = build_criterion(compose("loss/box=giou", "+loss.box.focal_gamma=1.5"))
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


def test_a_softmax_loss_brings_its_network_and_its_post_processing(compose):
    config = compose("loss/classification=softmax_focal")
    parts, _ = parts_of(config)
    assert parts.model.class_subnet.num_outputs == 6 + 1
    assert parts.evaluate.postprocess.scores == "softmax"
    # A checkpoint says so in the sections from which its detector is built again.
    saved = model_config_from(parts.identity["config"])
    assert saved["model"]["scores"] == saved["postprocess"]["scores"] == "softmax"
    again = build_model(saved["model"], num_classes=6, num_anchors=parts.model.class_subnet.num_anchors, machine=CPU)
    again.load_state_dict(parts.model.state_dict())
    assert {"AP", "loss_classification"} <= parts.evaluate(parts.model).metrics.keys()


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


def test_the_parts_of_a_run_follow_its_configuration(compose):
    config = compose("train.accumulate=2")
    parts, length = parts_of(config)
    assert (length.num_steps, length.batch_size, length.images_per_epoch) == (4, 4, 12)
    assert len(parts.identity["class_names"]) == len(parts.identity["category_ids"]) == 6
    assert OmegaConf.create(parts.identity["config"]) == config
    first, second, third = islice(iter(parts.make_loader(0)), 3)
    assert [len(batch) for batch in (first, second, third)] == [2, 2, 2]
    assert first.images.pixels.shape == (2, 3, 64, 64)
    # The stream from a position on is the rest of the stream from the start.
    (later,) = islice(iter(parts.make_loader(4)), 1)
    assert list(later.image_ids) == list(third.image_ids)
    assert torch.equal(later.images.pixels, third.images.pixels)


def test_equal_seeds_give_equal_networks_and_orders(compose):
    runs = [parts_of(compose(f"train.seed={seed}"))[0] for seed in (1, 1, 2)]
    weights = [run.model.class_subnet.state_dict() for run in runs]
    ids = [[next(stream).image_ids for _ in range(3)] for stream in (iter(run.make_loader(0)) for run in runs)]
    name = next(name for name, value in weights[0].items() if value.ndim == 4)
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert ids[0] == ids[1] != ids[2]


def test_the_transforms_of_the_configuration_are_used_in_training_only(compose):
    plain, flipped = (
        parts_of(compose("augment=flip", f"augment.transforms=[{{_target_: albumentations.VerticalFlip, p: {p}}}]"))[0]
        for p in (0, 1)
    )
    one, other = (next(iter(parts.make_loader(0))) for parts in (plain, flipped))
    assert torch.equal(one.images.pixels.flip(2), other.images.pixels)
    assert torch.equal(*(next(iter(parts.evaluate.loader)).images.pixels for parts in (plain, flipped)))


def test_a_run_that_goes_on_reads_no_pretrained_weights(compose):
    config = compose("model.weights=/nowhere/weights.pt", "model.norm=frozen_bn")
    parts, length = parts_of(config, done=Progress(step=2, images=6))
    assert not parts.model.backbone.conv1.weight.requires_grad, "its stages stay frozen all the same"
    assert (length.images_seen(2), length.num_steps) == (6, 4)


def test_the_evaluation_of_a_run_gives_metrics_and_losses_of_the_validation_images(compose):
    parts, _ = parts_of(compose())
    evaluation = parts.evaluate(parts.model)
    assert {"AP", "ARl", "loss", "loss_classification", "loss_box"} <= evaluation.metrics.keys()
    assert len(evaluation.detections) == 4
    assert parts.model.training
    assert len(parts.draw(evaluation)) == 1
