"""What a run is made of, as its configuration says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
import yaml

from retina.config.saved import model_config_from
from retina.config.sections import as_text
from retina.errors import ConfigError
from retina.models.network import build_model
from retina.training.progress import Progress
from tests.jobs import CPU, as_job, job, parts_of


@pytest.fixture
def parts(small) -> Callable[..., Any]:
    """Build the parts of the small run with more words."""
    return lambda *words, **options: parts_of(*job("train", *small, *words), **options)


def test_a_softmax_loss_brings_its_network_and_its_post_processing(parts):
    parts, _ = parts("loss/classification=softmax_focal")
    assert parts.model.class_subnet.num_outputs == 6 + 1
    assert parts.evaluate.postprocess.scores == "softmax"
    # A checkpoint says so in the sections from which its detector is built again.
    saved = model_config_from(parts.identity["config"])
    assert saved["model"]["scores"] == saved["postprocess"]["scores"] == "softmax"
    again = build_model(saved["model"], num_classes=6, num_anchors=parts.model.class_subnet.num_anchors, machine=CPU)
    again.load_state_dict(parts.model.state_dict())
    assert {"AP", "loss_classification"} <= parts.evaluate(parts.model).metrics.keys()


def test_the_parts_of_a_run_follow_its_configuration(small):
    settings, sections = job("train", *small, "train.accumulate=2")
    parts, length = parts_of(settings, sections)
    assert (length.num_steps, length.batch_size, length.images_per_epoch) == (4, 4, 12)
    assert len(parts.identity["class_names"]) == len(parts.identity["category_ids"]) == 6
    saved = parts.identity["config"]
    assert saved == as_text(*as_job("train", yaml.safe_load(saved))) == as_text(settings, sections)
    first, second, third = islice(iter(parts.make_loader(0)), 3)
    assert [len(batch) for batch in (first, second, third)] == [2, 2, 2]
    assert first.images.pixels.shape == (2, 3, 64, 64)
    # The stream from a position on is the rest of the stream from the start.
    (later,) = islice(iter(parts.make_loader(4)), 1)
    assert list(later.image_ids) == list(third.image_ids)
    assert torch.equal(later.images.pixels, third.images.pixels)


def test_anchors_of_other_strides_than_the_levels_of_the_model_are_told(parts):
    with pytest.raises(ConfigError) as told:
        parts("anchors.strides=[8,16,32,64,256]")
    assert told.value.what == (
        "anchors.strides=[8, 16, 32, 64, 256], but the levels of the model have the strides [8, 16, 32, 64, 128]"
    )
    assert told.value.fix == "anchors.strides=[8,16,32,64,128]"


def test_equal_seeds_give_equal_networks_and_orders(parts):
    runs = [parts(f"train.seed={seed}")[0] for seed in (1, 1, 2)]
    weights = [run.model.class_subnet.state_dict() for run in runs]
    ids = [[next(stream).image_ids for _ in range(3)] for stream in (iter(run.make_loader(0)) for run in runs)]
    name = next(name for name, value in weights[0].items() if value.ndim == 4)
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert ids[0] == ids[1] != ids[2]


def test_the_transforms_of_the_configuration_are_used_in_training_only(parts):
    plain, flipped = (
        parts("augment=flip", f"augment.transforms=[{{_target_: albumentations.VerticalFlip, p: {p}}}]")[0]
        for p in (0, 1)
    )
    one, other = (next(iter(parts.make_loader(0))) for parts in (plain, flipped))
    assert torch.equal(one.images.pixels.flip(2), other.images.pixels)
    assert torch.equal(*(next(iter(parts.evaluate.loader)).images.pixels for parts in (plain, flipped)))


def test_a_run_that_goes_on_reads_no_pretrained_weights(parts):
    words = ("model.weights=/nowhere/weights.pt", "model.norm=frozen_bn")
    parts, length = parts(*words, done=Progress(step=2, images=6))
    assert not parts.model.backbone.conv1.weight.requires_grad, "its stages stay frozen all the same"
    assert (length.images_seen(2), length.num_steps) == (6, 4)


def test_the_evaluation_of_a_run_gives_metrics_and_losses_of_the_validation_images(parts):
    parts, _ = parts()
    evaluation = parts.evaluate(parts.model)
    assert {"AP", "ARl", "loss", "loss_classification", "loss_box"} <= evaluation.metrics.keys()
    assert len(evaluation.detections) == 4
    assert parts.model.training
    assert len(parts.draw(evaluation)) == 1
