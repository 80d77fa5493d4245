from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest

from retina.settings import (
    BenchmarkSettings,
    CheckpointSettings,
    EvalSettings,
    EvaluateSettings,
    ImageSettings,
    Interval,
    LogSettings,
    MeasuringSettings,
    PredictSettings,
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
        (lambda: LogSettings(every="1 day"), r"log\.every must be .* got '1 day'"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_path_with_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


FILES = {"detections": "results.json", "annotations": "instances.json", "run_dir": "out"}


@pytest.mark.parametrize(
    "given", [{"ckpt": "runs/mine"}, {"ckpt": "runs/mine", "split": "test", "run_dir": "out"}, FILES]
)
def test_an_evaluation_is_of_a_checkpoint_or_of_a_results_file(given):
    settings = EvaluateSettings(**given)
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"ckpt must be given, or detections and annotations"),
        ({**FILES, "ckpt": "runs/mine"}, r"ckpt and detections cannot both be given"),
        ({**FILES, "annotations": None}, r"detections and annotations must be given together"),
        ({"ckpt": "runs/mine", "annotations": "a.json"}, r"detections and annotations must be given together"),
        ({**FILES, "run_dir": None}, r"run_dir must be given with detections"),
        ({"ckpt": "runs/mine", "split": "valid"}, r"split must be one of null, train, val, test, got 'valid'"),
        ({"ckpt": "runs/mine", "batch_size": 0}, r"^batch_size must be at least 1, got 0"),
        ({"ckpt": "runs/mine", "workers": -1}, r"^workers must be at least 0, got -1"),
        ({"ckpt": "runs/mine", "device": "tpu"}, r"^device must be one of auto, cpu, cuda, got 'tpu'"),
        ({"ckpt": "runs/mine", "precision": "half"}, r"^precision must be one of auto, .* got 'half'"),
    ],
)
def test_an_evaluation_that_makes_no_sense_is_told(given, message):
    with pytest.raises(ValueError, match=message):
        EvaluateSettings(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ckpt": None}, r"ckpt must be given"),
        ({"source": None}, r"source must be given"),
        ({"score_threshold": 1.5}, r"score_threshold must lie in \[0, 1\], got 1\.5"),
        ({"score_threshold": float("nan")}, r"score_threshold must lie in \[0, 1\], got nan"),
        ({"batch_size": 0}, r"^batch_size must be at least 1, got 0"),
        ({"device": "tpu"}, r"^device must be one of auto, cpu, cuda, got 'tpu'"),
        ({"precision": "half"}, r"^precision must be one of auto, .* got 'half'"),
    ],
)
def test_a_prediction_that_makes_no_sense_is_told(given, message):
    usable = {"ckpt": "runs/mine", "source": "photo.jpg"}
    assert PredictSettings(**usable).out == "predictions"
    with pytest.raises(ValueError, match=message):
        PredictSettings(**{**usable, **given})


@pytest.mark.parametrize("name", ["num_boxes", "num_classes", "repeats"])
def test_a_benchmark_of_nothing_is_told(name):
    assert BenchmarkSettings().benchmark.repeats == 5
    with pytest.raises(ValueError, match=rf"benchmark\.{name} must be at least 1, got 0"):
        MeasuringSettings(**{name: 0})


def test_the_defaults_are_the_standard_recipes_sizes():
    settings = RunSettings()
    assert (settings.image.short_side, settings.image.long_side, settings.train.batch_size) == (800, 1333, 16)
    with pytest.raises(FrozenInstanceError):
        settings.train.batch_size = 2


def test_settings_and_errors_are_read_without_torch_or_hydra(root):
    code = "import sys, retina.settings, retina.errors; print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
