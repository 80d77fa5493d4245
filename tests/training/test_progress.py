from __future__ import annotations

import pytest

from retina.errors import CheckpointError, ConfigError
from retina.settings import TrainSettings
from retina.training.progress import Progress, RunLength


def length(*, images_per_epoch: int = 100, done: Progress | None = None, **train) -> RunLength:
    return RunLength.from_settings(TrainSettings(**train), images_per_epoch, done=done)


def test_progress_comes_back_from_its_plain_values():
    progress = Progress(step=3, images=6, position=8, best_ap=0.25, best_step=2, evaluations_without_gain=1)
    state = progress.state_dict()
    assert all(type(value) in (int, float) for value in state.values())
    restored = Progress()
    restored.load_state_dict(state)
    assert restored == progress


def test_progress_without_all_its_values_is_refused():
    with pytest.raises(CheckpointError, match="progress has no images, best_ap"):
        Progress().load_state_dict({"step": 1, "position": 1, "best_step": 0, "evaluations_without_gain": 0,
                                    "evaluated_step": 1})  # fmt: skip


@pytest.mark.parametrize(
    ("train", "num_steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_images": 64}, 4),
        ({"max_images": 65}, 5),
        ({"epochs": 2}, 13),  # 200 images in steps of 16
        ({"epochs": 0.32}, 2),
        ({"epochs": 1, "batch_size": 10}, 10),
        ({"epochs": 1.1, "batch_size": 10}, 11),  # 1.1 x 100 is above 110 in floating point
        ({"epochs": 2, "max_steps": 5}, 5),
        ({"epochs": 2, "max_steps": 50}, 13),
        ({"epochs": 2, "max_steps": 50, "max_images": 32}, 2),
        ({"epochs": 0.001}, 1),
    ],
)
def test_the_earliest_end_counts_and_the_last_step_is_a_whole_one(train, num_steps):
    assert length(**train).num_steps == num_steps


def test_a_run_without_an_end_is_told_what_to_set():
    with pytest.raises(ConfigError, match="nothing says when the training ends") as caught:
        length()
    assert caught.value.fix == "set train.epochs, train.max_steps or train.max_images"


def test_steps_images_and_epochs_of_a_run():
    run = length(epochs=2, batch_size=16)
    assert run.num_images == 13 * 16
    assert run.num_epochs == pytest.approx(2.08)
    assert [run.images_seen(step) for step in (0, 1, 13)] == [0, 16, 208]
    assert [run.epoch(step) for step in (0, 6, 7, 13)] == [0, 0, 1, 2]


def test_the_standard_recipe_is_90k_steps_of_16_or_720k_of_2():
    assert length(max_images=1_440_000, images_per_epoch=118_287).num_steps == 90_000
    assert length(max_images=1_440_000, images_per_epoch=118_287, batch_size=2).num_steps == 720_000


@pytest.mark.parametrize("done", [Progress(), Progress(step=3, images=48), Progress(step=13, images=208)])
def test_going_on_with_the_same_batch_size_changes_no_length(done):
    run, fresh = length(epochs=2, done=done), length(epochs=2)
    assert (run.num_steps, run.num_images) == (fresh.num_steps, fresh.num_images)
    assert [run.images_seen(step) for step in range(14)] == [fresh.images_seen(step) for step in range(14)]


def test_going_on_with_another_batch_size_counts_the_images_that_were_seen():
    run = length(max_images=200, batch_size=4, done=Progress(step=10, images=160))
    assert run.num_steps == 10 + 40 // 4
    assert run.images_seen(10) == 160
    assert run.images_seen(11) == 164
    assert run.num_images == 200
    assert length(max_images=200, max_steps=15, batch_size=4, done=Progress(step=10, images=160)).num_steps == 15


def test_a_run_past_its_new_end_ends_where_it_stands():
    run = length(max_steps=4, batch_size=64, done=Progress(step=100, images=400))
    assert (run.num_steps, run.num_images) == (100, 400)
