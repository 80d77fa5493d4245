from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from retina.ranges import length_in_images
from retina.training.schedules import Cosine, MultiStep, OneCycle, describe_scaling, linear_warmup, scaled_lr

RUN = 1_440_000  # the standard recipe: 90k steps of 16 images
COCO = 117_266  # images of an epoch


def standard(images_seen: float, drops: tuple[float, float] = (0.666666, 0.888888)) -> float:
    schedule = MultiStep(drops=drops, gamma=0.1, warmup=16_000, warmup_factor=1e-3)
    return schedule(images_seen, run_images=RUN, images_per_epoch=COCO)


@pytest.mark.parametrize(
    ("drops", "batch_size", "first", "second"),
    [
        ((0.666666, 0.888888), 16, 60_000, 80_000),
        ((0.666666, 0.888888), 2, 480_000, 640_000),
        ((2 / 3, 8 / 9), 16, 60_000, 80_000),
        ((2 / 3, 8 / 9), 2, 480_000, 640_000),
        ((2 / 3, 8 / 9), 1, 960_000, 1_280_000),
        ((960_000, 1_280_000), 1, 960_000, 1_280_000),
    ],
)
def test_the_standard_drops_fall_on_exactly_the_standard_steps_at_every_batch_size(drops, batch_size, first, second):
    factors = [standard(step * batch_size, drops) for step in (first - 1, first, second - 1, second)]
    assert factors == pytest.approx([1.0, 0.1, 0.1, 0.01])


def test_warmup_of_the_standard_recipe_by_hand():
    # detectron2: factor * (1 - k / 1000) + k / 1000 at step k, from 1/1000
    assert standard(0) == pytest.approx(0.001)
    assert standard(16 * 500) == pytest.approx(0.5005)
    assert standard(16 * 999) == pytest.approx(0.001 * 0.001 + 0.999)
    assert standard(16 * 1000) == 1.0


def test_the_same_images_give_the_same_factor_whatever_the_batch():
    assert standard(16 * 123) == standard(2 * 984)


def test_warmup_is_multiplied_on_a_drop_inside_it():
    schedule = MultiStep(drops=[50], gamma=0.1, warmup=100, warmup_factor=0.0)
    assert schedule(60, run_images=200, images_per_epoch=10) == pytest.approx(0.6 * 0.1)


def test_lengths_may_be_epochs():
    schedule = MultiStep(drops=["2epoch", "3 epochs"], gamma=0.5, warmup=0)
    factors = [schedule(images, run_images=50, images_per_epoch=10) for images in (19, 20, 29, 30)]
    assert factors == [1.0, 0.5, 0.5, 0.25]


def test_no_warmup_is_factor_one_from_the_first_image():
    assert linear_warmup(0, 0.0, 1e-3) == 1.0


def test_multistep_agrees_with_torch_without_warmup():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[6, 8], gamma=0.1)
    schedule = MultiStep(drops=[0.6, 0.8], gamma=0.1, warmup=0)
    for step in range(10):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step * 4, run_images=40, images_per_epoch=7) == pytest.approx(expected)
        optimizer.step()
        reference.step()


def test_cosine_agrees_with_torch_and_stays_at_its_end():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01)
    schedule = Cosine(warmup=0)
    for step in range(21):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step * 8, run_images=160, images_per_epoch=50) == pytest.approx(expected)
        optimizer.step()
        reference.step()
    assert schedule(1000, run_images=160, images_per_epoch=50) == pytest.approx(0.01)


def test_cosine_warmup_is_a_fraction_of_the_run():
    schedule = Cosine(warmup=0.5, warmup_factor=0.0, final_factor=0.0)
    assert schedule(25, run_images=100, images_per_epoch=10) == pytest.approx(0.5 * (1 + 2**-0.5) * 0.5)


def test_one_cycle_agrees_with_torch():
    # torch puts its phases' ends one step early (step 29 of 100 for 0.3); in ours step k of N is k / N of the run.
    num_steps, warmup = 100, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=num_steps + 1,
        pct_start=(warmup * num_steps + 1) / (num_steps + 1),
        cycle_momentum=False,
    )
    schedule = OneCycle(warmup=warmup, final_factor=1 / 250_000)
    for step in range(num_steps + 1):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step * 2, run_images=200, images_per_epoch=9) == pytest.approx(expected, rel=1e-9), step
        optimizer.step()
        if step < num_steps:
            reference.step()


def test_one_cycle_without_a_rise_starts_at_the_top():
    assert OneCycle(warmup=0)(0, run_images=10, images_per_epoch=5) == 1.0


def test_drops_beyond_the_end_are_told():
    schedule = MultiStep(drops=[0.5, 100_000, "5epoch"], warmup=0)
    (note,) = schedule.notes(run_images=10_000, images_per_epoch=2_000)
    assert note == (
        "schedule.drops 100000 (100,000 images), 5epoch (10,000 images) not reached: the run ends after 10,000 images"
    )
    assert MultiStep(warmup=0).notes(run_images=10_000, images_per_epoch=2_000) == []


@pytest.mark.parametrize("schedule", [MultiStep(warmup=16_000), Cosine(warmup=16_000), OneCycle(warmup="3epoch")])
def test_a_warmup_longer_than_the_run_is_told(schedule):
    (note,) = schedule.notes(run_images=40, images_per_epoch=15)
    assert "is not over when the run ends after 40 images" in note
    assert schedule.notes(run_images=40_000, images_per_epoch=15) == []


def test_scaling_to_the_batch_is_said_in_one_sentence():
    assert describe_scaling(0.01, 16, 2, RUN) == "lr 0.01 @16 -> 0.00125 @2; 90k steps @16 -> 720k @2"
    assert describe_scaling(0.01, 16, 16, RUN) == "lr 0.01 @16; 90k steps @16"
    assert describe_scaling(0.001, None, 4, 10_001) == "lr 0.001, not scaled with the batch; 2,501 steps @4"


def test_the_scaling_that_is_said_is_the_one_that_is_used():
    assert f"-> {scaled_lr(0.02, 16, 12):g} @12" in describe_scaling(0.02, 16, 12, RUN)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiStep(drops=[0.5, "soon"]), r"drops must be images .*, got 'soon' in it"),
        (lambda: MultiStep(gamma=0), "gamma must be greater than 0 and at most 1, got 0"),
        (lambda: MultiStep(warmup=-1), "warmup must be images"),
        (lambda: Cosine(warmup_factor=2), "warmup_factor must be between 0 and 1, got 2"),
        (lambda: Cosine(final_factor=float("nan")), "final_factor must be between 0 and 1, got nan"),
        (lambda: OneCycle(final_factor=-1), "final_factor must be between 0 and 1, got -1"),
    ],
)
def test_a_wrong_setting_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_defaults_are_the_standard_proportions():
    length = [length_in_images(drop, run_images=90_000, images_per_epoch=1, setting="") for drop in MultiStep().drops]
    assert [round(images) for images in length] == [60_000, 80_000]


def test_reading_a_schedule_does_not_import_torch(root):
    code = "import sys, retina.training.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
