from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict
from itertools import pairwise

import pytest
import yaml

from retina.settings import (
    AugmentSettings,
    CheckpointSettings,
    DatasetSettings,
    EvalSettings,
    ImageSettings,
    Interval,
    LogSettings,
    LossSettings,
    RunSettings,
    TrainSettings,
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
    assert Interval.parse(value) == interval


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
    ("make", "message"),
    [
        (
            lambda: ImageSettings(multi_scale=[640, 1334]),
            r"multi_scale must be at most long_side \(1333\), got 1334 in",
        ),
        (lambda: ImageSettings(multi_scale=[0]), r"multi_scale must be at least 1, got 0 in it"),
        (lambda: ImageSettings(multi_scale=[]), r"multi_scale must be a list that is not empty, got \[\]"),
        (lambda: ImageSettings(short_side=0), r"short_side must be at least 1, got 0"),
        (
            lambda: ImageSettings(short_side=800, long_side=600),
            r"long_side must be at least short_side \(800\), got 600",
        ),
        (lambda: TrainSettings(batch_size=0), r"batch_size must be at least 1, got 0"),
        (lambda: TrainSettings(accumulate=0), r"accumulate must be at least 1, got 0"),
        (lambda: TrainSettings(workers=-1), r"workers must be at least 0, got -1"),
        (lambda: TrainSettings(seed=-1), r"seed must be at least 0, got -1"),
        (lambda: TrainSettings(epochs=0), r"epochs must be greater than 0, got 0"),
        (lambda: TrainSettings(epochs=float("nan")), r"epochs must be greater than 0, got nan"),
        (lambda: TrainSettings(max_steps=-5), r"max_steps must be at least 1, got -5"),
        (lambda: TrainSettings(max_grad_norm=float("inf")), r"max_grad_norm must be greater than 0, got inf"),
        (lambda: TrainSettings(patience=0), r"patience must be at least 1, got 0"),
        (lambda: TrainSettings(ema_decay=1.0), r"ema_decay must be at least 0 and below 1, got 1\.0"),
        (lambda: TrainSettings(precision="half"), r"precision must be one of auto, float32, .* got 'half'"),
        (lambda: TrainSettings(device="tpu"), r"device must be one of auto, cpu, cuda, got 'tpu'"),
        (lambda: CheckpointSettings(every="often"), r"every must be .* got 'often'"),
        (lambda: EvalSettings(every=-1), r"every must be .* got -1"),
        (lambda: EvalSettings(batch_size=0), r"batch_size must be at least 1, got 0"),
        (lambda: EvalSettings(split="valid"), r"split must be one of train, val, test, got 'valid'"),
        (lambda: EvalSettings(num_pictures=-1), r"num_pictures must be at least 0, got -1"),
        (lambda: LogSettings(focal_every=-1), r"every must be .* got -1"),
        (lambda: LogSettings(every="1 day"), r"every must be .* got '1 day'"),
        (lambda: DatasetSettings(fraction=0), r"fraction must be greater than 0 and at most 1, got 0"),
        (lambda: LossSettings(focal_gamma=-1), r"focal_gamma must be at least 0, got -1"),
        (lambda: AugmentSettings(until="-2days"), r"until must be a fraction of the run .* got '-2days'"),
    ],
)
def test_a_value_out_of_range_is_told_with_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults_of_a_run_are_those_of_its_configuration(root):
    written = yaml.safe_load((root / "configs" / "train.yaml").read_text(encoding="utf-8"))
    defaults = asdict(RunSettings())
    # What the base leaves to the recipes and the options of a group.
    for section, name in (("augment", "until"), ("augment", "afterwards")):
        written.setdefault(section, {}).setdefault(name, defaults[section][name])
    for name, value in defaults.items():
        own = {key: written[name][key] for key in value} if isinstance(value, dict) else written[name]
        assert own == value, name


def test_the_defaults_are_the_standard_recipes_sizes():
    settings = RunSettings()
    assert (settings.image.short_side, settings.image.long_side, settings.train.batch_size) == (800, 1333, 16)
    with pytest.raises(FrozenInstanceError):
        settings.train.batch_size = 2


def test_settings_and_errors_are_read_without_torch_or_hydra(root):
    code = "import sys, retina.settings, retina.errors; print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_evaluation_has_one_size_and_training_draws_from_many():
    image = ImageSettings(512, 853, reduced_decoding=True, multi_scale=[480, 512])
    assert image.one_size == {"short_side": 512, "long_side": 853, "reduced_decoding": True}
    assert image.training_sizes == [(480, 853), (512, 853)]
    assert ImageSettings().training_sizes == []
