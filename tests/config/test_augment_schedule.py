"""When strong augmentation ends: a setting, and a function of the epoch alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from retina.build import build
from retina.commands.assemble import build_augment, epoch_orders, open_training_data, switch_epoch, train_loader_maker
from retina.data.augment import Augment, AugmentUntil
from retina.data.transforms.mixing import Mosaic
from retina.errors import ConfigError
from retina.settings import AugmentSettings
from retina.training.progress import RunLength
from tests.jobs import CPU, job, tree_of


@pytest.mark.parametrize(
    ("until", "epochs", "first_gentle"),
    [
        (0.85, 20, 17),
        (0.85, 12, 10),  # 10.2
        (0.85, 4, 3),  # 3.4
        (0.85, 1, 1),  # never: a run of one epoch has no last epochs
        ("10epoch", 12, 10),
        ("-2epoch", 12, 10),
        ("-2epoch", 1, 0),  # all of it is the last two epochs
        (500, 12, 5),  # images, 100 an epoch
        (None, 12, None),
    ],
)
def test_the_end_is_the_nearest_whole_epoch(until, epochs, first_gentle) -> None:
    length = RunLength(num_steps=epochs * 25, batch_size=4, images_per_epoch=100)
    assert switch_epoch(AugmentSettings(until=until), length) == first_gentle


@pytest.mark.parametrize("value", ["0.9", "null", "3epoch", "-1epoch", "2000"])
def test_every_way_to_say_it_is_understood(value) -> None:
    assert "until" in tree_of("train", "augment=strong", f"augment.until={value}")["augment"]


@pytest.mark.parametrize("value", ["-0.1", "soon", "-2", "nan"])
def test_other_ways_are_told(value) -> None:
    with pytest.raises(ConfigError, match=r"^error: augment\.until must be"):
        tree_of("train", "augment=strong", f"augment.until={value}")


def test_the_builder_makes_both_parts(small) -> None:
    run, sections = job("train", *small, "augment=strong", "train.epochs=10", "train.max_steps=null")
    length = RunLength.from_settings(run.train, 12)
    augment = build_augment(sections["augment"], run, length)
    assert isinstance(augment, AugmentUntil)
    assert augment.epoch == 9  # of 8.5; the run is 10 epochs
    assert isinstance(augment.first.mixing[0], Mosaic)
    assert augment.then.mixing == []
    assert len(augment.then.pipeline.transforms) == 2  # the flip and the resize
    never = replace(run, augment=replace(run.augment, until=None))
    assert isinstance(build_augment(sections["augment"], never, length), Augment)


def test_a_resumed_run_sees_the_same_images_across_the_switch(small) -> None:
    words = ("augment=strong", "augment.until=1epoch", "train.epochs=2", "train.max_steps=null")
    run, sections = job("train", *small, *words)
    dataset = open_training_data(run, build(sections["dataset"]))
    length = RunLength.from_settings(run.train, len(dataset))
    orders = epoch_orders(sections, run, dataset)
    make = train_loader_maker(sections, run, dataset, build(sections["anchors"]), CPU, length, orders=orders)
    whole = list(islice(make(0), 6))  # 12 images an epoch, 4 a batch: three strong batches and three gentle ones
    resumed = [batch for start in (8, 16) for batch in islice(make(start), 2)]
    for first, second in zip(whole[2:], resumed, strict=True):
        assert torch.equal(first.images.pixels, second.images.pixels)
        assert all(map(torch.equal, *([t.boxes for t in b.box_targets] for b in (first, second))))
