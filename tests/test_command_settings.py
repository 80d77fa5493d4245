from __future__ import annotations

import pytest

from retina.command_settings import (
    BenchmarkSettings,
    EvaluateSettings,
    LossLabSettings,
    MeasuringSettings,
    PredictSettings,
)

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossLabSettings(split="trian"), "split must be one of train, val, test, got 'trian'"),
        (lambda: LossLabSettings(max_images=0), "max_images must be at least 1, got 0"),
        (lambda: LossLabSettings(score_threshold=1.5), r"score_threshold must lie in \[0, 1\], got 1.5"),
    ],
)
def test_a_look_at_losses_that_makes_no_sense_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
