from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest

from retina.settings import (
    CheckpointSettings,
    EvalSettings,
    ImageSettings,
    Interval,
    LogSettings,
    RunSettings,
    TrainSettings,
    length_in_images,
)


def occasions(interval: Interval, *, batch_size: int, steps: int, images_per_epoch: int) -> list[int]:
    """The steps after which the interval says that its occasion has come."""
    seen = [step * batch_size for step in range(steps + 1)]
    return [
        step
        for step, (before, now) in enumerate(pairwise(seen), start=1)
        if interval.crossed(step, before, now, images_per_epoch)
    ]


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (500, Interval(steps=500)),
        (0, Interval(steps=0)),
        (" 20 ", Interval(steps=20)),
        ("1epoch", Interval(epochs=1)),
        ("0.5 epochs", Interval(epochs=0.5)),
    ],
)
def test_intervals_are_steps_or_epochs(value, interval):
    assert Interval.parse(value, "log.every") == interval


@pytest.mark.parametrize("value", [-1, True, 2.5, "0epoch", "epoch", "-1epoch", "1 day", "", "²", None])
def test_an_interval_that_is_neither_names_the_setting_and_the_value(value):
    with pytest.raises(ValueError, match=r"log\.every must be a number of steps \(0 = never\) or like '1epoch', got"):
        Interval.parse(value, "log.every")


def test_steps_come_round_at_their_multiples_and_zero_never():
    assert occasions(Interval(steps=3), batch_size=4, steps=10, images_per_epoch=100) == [3, 6, 9]
    assert occasions(Interval(steps=0), batch_size=4, steps=10, images_per_epoch=100) == []
    assert occasions(Interval(), batch_size=4, steps=10, images_per_epoch=100) == []


def test_an_epoch_ends_with_the_step_that_sees_its_last_image():
    # 10 images in batches of 4: epochs end inside step 3 (images 9..12) and at step 5.
    assert occasions(Interval(epochs=1), batch_size=4, steps=5, images_per_epoch=10) == [3, 5]


def test_rounding_does_not_put_off_an_occasion():
    assert 1.1 * 100 > 110  # in floating point
    assert occasions(Interval(epochs=1.1), batch_size=10, steps=12, images_per_epoch=100) == [11]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
@pytest.mark.parametrize("epochs", [0.1, 0.25, 1.0, 3.0])
def test_no_occasion_is_lost_or_doubled_over_a_long_run(batch_size, epochs):
    images_per_epoch, steps = 364, 400
    found = occasions(Interval(epochs=epochs), batch_size=batch_size, steps=steps, images_per_epoch=images_per_epoch)
    assert len(found) == int(batch_size * steps / (epochs * images_per_epoch) + 1e-9)


def test_a_step_that_sees_several_occasions_tells_one():
    assert occasions(Interval(epochs=1), batch_size=25, steps=2, images_per_epoch=10) == [1, 2]


@pytest.mark.parametrize(
    ("value", "images"), [(16000, 16000), ("2epoch", 2000), ("0.5 epochs", 500), (0.75, 6000), (0, 0)]
)
def test_lengths_are_images_epochs_or_a_fraction_of_the_run(value, images):
    assert length_in_images(value, run_images=8000, images_per_epoch=1000, setting="schedule.warmup") == images


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "much", "-1epoch", None])
def test_a_length_that_cannot_be_read_names_the_setting_and_the_value(value):
    with pytest.raises(ValueError, match=r"schedule\.warmup must be images .* got"):
        length_in_images(value, run_images=8000, images_per_epoch=1000, setting="schedule.warmup")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageSettings(multi_scale=[640, 1334]), r"at most image\.long_side \(1333\), got \[640, 1334\]"),
        (lambda: ImageSettings(multi_scale=[0]), r"image\.multi_scale must be null or short sides"),
        (lambda: ImageSettings(multi_scale=[]), r"image\.multi_scale must be null or short sides"),
        (lambda: ImageSettings(short_side=0), r"image\.short_side must be at least 1 .* got 0 and 1333"),
        (lambda: ImageSettings(short_side=800, long_side=600), r"image\.long_side at least .* got 800 and 600"),
        (lambda: TrainSettings(batch_size=0), r"train\.batch_size must be at least 1, got 0"),
        (lambda: TrainSettings(accumulate=0), r"train\.accumulate must be at least 1, got 0"),
        (lambda: TrainSettings(workers=-1), r"train\.workers must be at least 0, got -1"),
        (lambda: TrainSettings(seed=-1), r"train\.seed must be at least 0, got -1"),
        (lambda: TrainSettings(epochs=0), r"train\.epochs must be null or greater than 0, got 0"),
        (lambda: TrainSettings(epochs=float("nan")), r"train\.epochs must be null or greater than 0, got nan"),
        (lambda: TrainSettings(max_steps=-5), r"train\.max_steps must be null or greater than 0, got -5"),
        (lambda: TrainSettings(max_grad_norm=float("inf")), r"train\.max_grad_norm must be null or .* got inf"),
        (lambda: TrainSettings(patience=0), r"train\.patience must be null or greater than 0, got 0"),
        (lambda: TrainSettings(ema_decay=1.0), r"train\.ema_decay must be null or lie in \[0, 1\), got 1\.0"),
        (lambda: TrainSettings(precision="half"), r"train\.precision must be one of auto, float32, .* got 'half'"),
        (lambda: TrainSettings(device="tpu"), r"train\.device must be one of auto, cpu, cuda, got 'tpu'"),
        (lambda: CheckpointSettings(every="often"), r"checkpoint\.every must be .* got 'often'"),
        (lambda: EvalSettings(every=-1), r"eval\.every must be .* got -1"),
        (lambda: EvalSettings(batch_size=0), r"eval\.batch_size must be at least 1, got 0"),
        (lambda: EvalSettings(split="valid"), r"eval\.split must be one of train, val, test, got 'valid'"),
        (lambda: EvalSettings(split=None), r"eval\.split must be one of train, val, test, got None"),
        (lambda: EvalSettings(num_pictures=-1), r"eval\.num_pictures must be at least 0, got -1"),
        (lambda: LogSettings(focal_every=-1), r"log\.focal_every must be .* got -1"),
        (lambda: LogSettings(every="1 day"), r"log\.every must be .* got '1 day'"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_path_with_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults_are_the_standard_recipes_sizes():
    settings = RunSettings()
    assert (settings.image.short_side, settings.image.long_side, settings.train.batch_size) == (800, 1333, 16)
    with pytest.raises(FrozenInstanceError):
        settings.train.batch_size = 2


def test_settings_and_errors_are_read_without_torch_or_hydra(root):
    code = (
        "import sys, retina.command_settings, retina.errors; print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_evaluation_has_one_size_and_training_draws_from_many():
    image = ImageSettings(512, 853, reduced_decoding=True, multi_scale=[480, 512])
    assert image.one_size == {"short_side": 512, "long_side": 853, "reduced_decoding": True}
    assert image.training_sizes == [(480, 853), (512, 853)]
    assert ImageSettings().training_sizes == []
