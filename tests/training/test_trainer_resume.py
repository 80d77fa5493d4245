"""The trainer on a run of one weight: going on where it stopped, and stopping where it is asked to."""

from __future__ import annotations

import signal

import pytest
import torch

from retina.errors import CheckpointError, Interrupted
from retina.training.checkpoint import load_checkpoint
from retina.training.progress import Progress
from retina.training.schedules import MultiStep


def weight(trainer) -> float:
    return float(trainer.parts.model.weight.detach())


def resume(run, **settings):
    """A trainer that is resumed from the run's last checkpoint."""
    state = load_checkpoint(run.folder / "checkpoints" / "last.pt")
    before = Progress()
    before.load_state_dict(state["progress"])
    trainer = run.trainer(done=before, **settings)
    trainer.load_state_dict(state)
    return trainer


def adamw(lr: float = 0.01, weight_decay: float = 0.1) -> dict:
    return {"optimizer": torch.optim.AdamW,
            "optimizer_settings": {"lr": lr, "weight_decay": weight_decay, "fused": True}}  # fmt: skip


def test_a_run_in_two_parts_equals_a_run_in_one(toy):
    schedule = MultiStep(drops=(12,), warmup=3)
    whole = toy(**adamw(), schedule=schedule).trainer(max_steps=8, ema_decay=0.8)
    whole.fit()
    run = toy(**adamw(), schedule=schedule)
    run.trainer(max_steps=5, ema_decay=0.8).fit()
    second = resume(run, max_steps=8, ema_decay=0.8)
    second.fit()
    assert run.starts == [0, 10]
    assert weight(second) == weight(whole)
    assert float(second.train_step.ema.model.weight) == float(whole.train_step.ema.model.weight)
    assert second.progress.step == 8


def test_a_complete_run_says_so_and_does_nothing(toy, saves):
    run = toy(aps=(0.4,))
    run.trainer().fit()
    del saves[:]
    run.told.entries.clear()
    metrics = resume(run).fit()
    assert metrics["AP"] == 0.4
    assert (len(run.evaluated), run.told.entries, saves, run.starts) == (1, [], [], [0])
    (said,) = run.told.said
    assert said.startswith("the run is complete: its 4 steps are made. To train longer, raise")


def test_a_run_past_its_new_end_is_complete_too(toy):
    run = toy()
    run.trainer().fit()
    resume(run, max_steps=2).fit()
    assert "the run is complete: its 4 steps" in run.told.said[0]
    assert len(run.evaluated) == 1


def test_a_run_that_was_stopped_after_its_last_step_is_evaluated_when_it_goes_on(toy, saves):
    run = toy()
    trainer = run.trainer()
    run.told.advance = lambda step, epoch: step == 4 and signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert run.evaluated == []
    del saves[:]
    resume(run).fit()
    assert len(run.evaluated) == 1
    assert saves == ["best.pt", "last.pt"]


def test_a_run_goes_on_with_another_batch_size_where_its_images_and_schedule_are(toy):
    seen = []
    run = toy(schedule=lambda images, run_images, **_: seen.append((images, run_images)) or 1.0)
    run.trainer(max_steps=None, max_images=8).fit()
    trainer = resume(run, max_steps=None, max_images=24, batch_size=4)
    trainer.fit()
    assert seen == [(0, 8), (2, 8), (4, 8), (6, 8), (8, 24), (12, 24), (16, 24), (20, 24)]
    assert run.starts == [0, 8]
    assert (trainer.progress.step, trainer.progress.images, trainer.progress.position) == (8, 24, 24)


def test_settings_of_the_optimizer_that_were_changed_hold_when_the_run_goes_on(toy):
    run = toy(**adamw())
    run.trainer().fit()
    run.optimizer_settings = adamw(lr=0.5, weight_decay=0.3)["optimizer_settings"]
    trainer = resume(run, max_steps=5)
    trainer.fit()
    (group,) = trainer.parts.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.3)
    assert float(trainer.parts.optimizer.state[group["params"][0]]["step"]) == 5, "the moments were kept"


def test_an_average_that_starts_when_the_run_goes_on_starts_from_its_weights(toy):
    run = toy()
    run.trainer().fit()
    trainer = resume(run, max_steps=5, ema_decay=0.999)
    assert float(trainer.train_step.ema.model.weight) == weight(trainer) != 0


def test_an_average_may_end_when_the_run_goes_on(toy):
    run = toy()
    run.trainer(ema_decay=0.9).fit()
    resume(run, max_steps=5).fit()
    assert load_checkpoint(run.folder / "checkpoints" / "last.pt")["ema"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format=99), "has format 99, this version reads 1"),
        (lambda state: state["model"].update(weight=torch.zeros(2)), "does not fit this configuration"),
        (lambda state: state.pop("random"), "does not fit this configuration"),
        (lambda state: state["optimizer"]["param_groups"].clear(), "does not fit this configuration"),
        (lambda state: state["progress"].pop("position"), "progress has no position"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(toy, change, message):
    run = toy()
    run.trainer().fit()
    state = load_checkpoint(run.folder / "checkpoints" / "last.pt")
    change(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        run.trainer().load_state_dict(state)
    assert caught.value.exit_status == 3


# Stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_its_step_with_everything_saved(toy, number, status):
    run = toy()
    run.told.advance = lambda step, epoch: step == 2 and signal.raise_signal(number)
    trainer = run.trainer()
    with pytest.raises(Interrupted, match="at step 2; everything is saved") as caught:
        trainer.fit()
    assert caught.value.exit_status == status
    assert f"resume={run.folder}" in caught.value.fix
    assert run.progress_in("last.pt")["step"] == 2
    assert float(load_checkpoint(run.folder / "checkpoints" / "last.pt")["model"]["weight"]) == weight(trainer)


def test_a_signal_during_the_last_evaluation_loses_nothing(toy):
    run = toy(on_evaluate=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="at step 4; everything is saved"):
        run.trainer().fit()
    assert run.progress_in("last.pt")["evaluated_step"] == 4
