"""One training step and one detection of ours."""

from __future__ import annotations

import torch

from retina.benchmark.steps import Detection
from retina.benchmark.synthetic import synthetic_scores
from retina.detection.postprocess import PostProcess


def test_a_step_changes_what_trains_and_leaves_what_is_frozen(small) -> None:
    before = {name: value.clone() for name, value in small.model.named_parameters()}
    loss = small.train_step(lr=1e-4)()
    assert loss.isfinite()
    assert not loss.requires_grad
    changed = {name for name, value in small.model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name, value in small.model.named_parameters() if value.requires_grad}
    assert all(parameter.grad is None for parameter in small.model.parameters())


def test_with_a_learning_rate_of_zero_every_step_is_the_same(small) -> None:
    step = small.train_step()
    first, second = step(), step()
    torch.testing.assert_close(first, second, rtol=1e-6, atol=0)


def test_a_step_runs_under_autocast(small) -> None:
    step = small.train_step()
    half = type(step)(**{**vars(step), "autocast": lambda: torch.autocast("cpu", torch.bfloat16)})
    assert abs(half() / step() - 1) < 0.05


def test_detections_are_those_whose_scores_were_written(small) -> None:
    detection = Detection(small.model.eval(), PostProcess(), small.anchors, small.images)
    grid = small.anchors(small.anchors.grid_sizes((128, 160)))
    scores = synthetic_scores(grid, small.objects[0], num_classes=5)
    scores.take_the_place_of(small.model.class_subnet.predict, small.model.class_subnet)
    (found,) = detection()
    assert detection.predictions().deltas.shape == (1, len(grid), 4)
    assert 0.88 < found.scores[0] < 0.9001
    assert set(found.labels.tolist()) >= set(small.objects[0].labels.tolist())
