"""The trainer on a run of one weight: steps by hand, and everything about when and how often."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from retina.errors import DivergedError
from retina.training.checkpoint import load_checkpoint
from retina.training.schedules import MultiStep

INFINITE = 255  # the value of an image whose loss is not finite


def weight(trainer) -> float:
    return float(trainer.parts.model.weight.detach())


class FakeScaler:
    """An fp16 scaler whose updates number ``overflowing`` overflow, counted from 1."""

    def __init__(self, *overflowing: int, scale: float = 1024.0) -> None:
        self.overflowing, self.factor, self.updates = overflowing, scale, 0

    def is_enabled(self) -> bool:
        return True

    def scale(self, loss):
        return loss

    def unscale_(self, optimizer) -> None: ...

    def get_scale(self) -> float:
        return self.factor

    def step(self, optimizer) -> None:
        self.updates += 1
        if self.updates not in self.overflowing:
            optimizer.step()

    def update(self) -> None:
        if self.updates in self.overflowing:
            self.factor /= 2

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.factor}


# The step


def test_the_normaliser_is_the_positives_of_the_whole_step(toy):
    run = toy()
    trainer = run.trainer(batch_size=4, accumulate=2)
    trainer.update([run.batch(1, 2, positives=1), run.batch(3, 4, positives=4)])
    # The weight is 0, so the slope of sum (w x - 1)^2 is -2 (1 + 2 + 3 + 4), over 5 positives; lr 0.01.
    assert weight(trainer) == pytest.approx(0.01 * 2 * 10 / 5)
    scalars = trainer.train_step.totals.scalars()
    assert scalars["train/loss_classification"] == pytest.approx(4 / 5)
    assert scalars["train/loss_box"] == pytest.approx(3.0)
    assert scalars["train/loss"] == pytest.approx(3.8)
    assert scalars["train/grad_norm"] == pytest.approx(4.0)


def test_a_step_without_positives_counts_as_one(toy):
    run = toy()
    trainer = run.trainer()
    trainer.update([run.batch(1, 2, positives=0)])
    assert weight(trainer) == pytest.approx(0.01 * 2 * 3)


def test_micro_batches_give_the_step_of_the_whole_batch(toy):
    run = toy()
    whole, split = run.trainer(batch_size=4), run.trainer(batch_size=4, accumulate=4)
    whole.update([run.batch(1, 2, 3, 4, positives=3)])
    split.update([run.batch(value, positives=number) for value, number in ((1, 0), (2, 2), (3, 0), (4, 1))])
    assert weight(split) == pytest.approx(weight(whole), rel=1e-6)
    assert split.progress == whole.progress
    assert split.train_step.totals.scalars()["train/loss"] == pytest.approx(
        whole.train_step.totals.scalars()["train/loss"]
    )


def test_gradients_are_clipped_to_the_norm_that_is_set_and_logged_before(toy):
    run = toy()
    trainer = run.trainer(max_grad_norm=0.5)
    trainer.update([run.batch(1, 2)])
    assert weight(trainer) == pytest.approx(0.01 * 0.5, rel=1e-4)
    assert trainer.train_step.totals.scalars()["train/grad_norm"] == pytest.approx(6.0)


def test_averaged_weights_are_what_is_evaluated(toy):
    run = toy()
    trainer = run.trainer(max_steps=1, ema_decay=0.5)
    trainer.fit()
    (evaluated,) = run.evaluated
    assert evaluated == pytest.approx(0.9 * weight(trainer))  # the first update keeps a tenth of the start, which is 0


# What is not finite


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_an_update_that_is_not_finite_leaves_weights_and_moments_as_they_are(toy, optimizer, fused, cause):
    settings = {"lr": 0.01, "fused": fused, "weight_decay": 0.1}
    run = toy(optimizer=optimizer, optimizer_settings=settings)
    trainer, other = run.trainer(), run.trainer()
    for each in (trainer, other):
        each.update([run.batch(1, 2)])
    if cause == "loss":
        trainer.update([run.batch(1, INFINITE)])
    else:
        hook = trainer.parts.model.weight.register_hook(lambda gradient: gradient * torch.inf)
        trainer.update([run.batch(1, 2)])
        hook.remove()
    assert weight(trainer) == weight(other)
    assert float(trainer.train_step.diverged) == 1
    for each in (trainer, other):
        each.update([run.batch(2, 3)])
    assert weight(trainer) == weight(other)


def test_a_run_that_diverges_says_so_at_its_next_log_and_keeps_the_last_good_checkpoint(toy, saves):
    run = toy(values={4: INFINITE})  # seen in the third step
    with pytest.raises(DivergedError, match=r"not finite, at or shortly before step 3") as caught:
        run.trainer(max_steps=9, every=(2, 0, 3)).fit()
    assert caught.value.exit_status == 4
    assert f"resume={run.folder}" in caught.value.fix
    assert saves == ["last.pt"], "no checkpoint after the third step"
    assert run.progress_in("last.pt")["step"] == 2
    assert run.told.entries == []


def test_a_run_that_diverges_says_so_before_it_saves(toy, saves):
    run = toy(values={4: INFINITE})
    with pytest.raises(DivergedError, match="before step 4"):
        run.trainer(max_steps=9, every=(2, 0, 0)).fit()
    assert saves == ["last.pt"]
    assert run.progress_in("last.pt")["step"] == 2


def test_a_run_that_diverges_keeps_its_best_checkpoint(toy, saves):
    run = toy(values={4: INFINITE}, aps=(0.1, 0.9))
    with pytest.raises(DivergedError):
        run.trainer(max_steps=9, every=(0, 2, 0)).fit()
    assert saves == ["best.pt"]
    assert run.progress_in("best.pt")["best_ap"] == 0.1


def test_a_skipped_update_moves_the_data_but_neither_step_nor_schedule_nor_average(toy):
    seen = []
    run = toy(schedule=lambda images, **_: seen.append(images) or 1.0)
    trainer = run.trainer(max_steps=3, ema_decay=0.9)
    trainer.train_step.scaler = FakeScaler(2)
    stream = trainer._stream()
    for _ in range(3):
        trainer.update(next(stream))
    assert (trainer.progress.step, trainer.progress.images, trainer.progress.position) == (2, 4, 6)
    assert trainer.train_step.ema.num_updates == 2
    assert seen == [0, 2, 2]
    assert (trainer.train_step.totals.steps, trainer.train_step.totals.images) == (2, 4)
    assert float(trainer.train_step.diverged) == 0


def test_a_run_makes_all_its_steps_also_where_updates_are_skipped(toy):
    run = toy()
    trainer = run.trainer(max_steps=3, every=(0, 0, 1))
    trainer.train_step.scaler = FakeScaler(1, 3)
    trainer.fit()
    assert (trainer.progress.step, trainer.progress.position) == (3, 10)
    assert run.told.steps("train/loss") == [1, 2, 3]


@pytest.mark.parametrize("scale", [1024.0, 2.0**-20], ids=["loss not finite", "scale used up"])
def test_a_run_in_which_every_update_is_skipped_ends(toy, scale):
    run = toy(values=dict.fromkeys(range(100), INFINITE) if scale > 1 else {})
    trainer = run.trainer()
    trainer.train_step.scaler = FakeScaler(*range(1, 100), scale=scale)
    with pytest.raises(DivergedError, match="before step 0"):
        trainer.fit()


# When


def test_logs_evaluations_and_checkpoints_come_at_their_intervals_in_the_order_of_the_steps(toy, saves):
    run = toy(aps=(0.3, 0.2, 0.1))
    run.trainer(max_steps=7, every=(3, 2, 2)).fit()
    assert run.told.steps("train/loss") == [2, 4, 6, 7]
    assert run.told.steps("eval/AP") == [2, 4, 6, 7]
    assert saves == ["best.pt", "last.pt", "last.pt", "last.pt"]  # steps 2, 3, 6, 7
    steps = [step for step, _ in run.told.entries]
    assert steps == sorted(steps)
    assert run.told.shown.count("validation") == 4
    assert run.told.shown[0] == "train/first_batch"


def test_a_log_entry_is_the_mean_over_the_steps_since_the_last_one(toy):
    run = toy(optimizer_settings={"lr": 0.0, "fused": True})
    run.trainer(every=(0, 0, 2)).fit()
    # Images 1 2, 3 1, 2 3, 1 2 and a weight that stays 0: slopes of 2 (1 + 2), 2 (3 + 1), ...
    assert [values["train/grad_norm"] for _, values in run.told.entries if "train/loss" in values] == [7.0, 8.0]


def test_intervals_may_be_epochs(toy):
    run = toy()
    run.trainer(max_steps=13, every=(0, "1epoch", "0.5epoch")).fit()  # 6 steps an epoch
    assert run.told.steps("eval/AP") == [6, 12, 13]
    assert run.told.steps("train/loss") == [3, 6, 9, 12, 13]


def test_without_intervals_the_end_is_evaluated_and_saved_once(toy, saves):
    run = toy()
    metrics = run.trainer(every=(0, 0, 100)).fit()
    assert run.told.steps("eval/AP") == [4]
    assert run.told.steps("train/loss") == [4], "a run shorter than its log interval tells its losses at the end"
    assert saves == ["best.pt", "last.pt"]
    assert metrics["loss"] == 1.0


def test_nothing_is_done_twice_where_the_end_is_also_an_interval(toy, saves):
    run = toy()
    run.trainer(every=(4, 4, 4)).fit()
    assert run.told.steps("eval/AP") == [4]
    assert run.told.steps("train/loss") == [4]
    assert saves == ["best.pt", "last.pt"]


def test_numbers_that_the_data_set_does_not_define_are_logged_as_none(toy):
    run = toy()
    run.trainer().fit()
    ((_, values),) = [entry for entry in run.told.entries if "eval/AP" in entry[1]]
    assert values == {"eval/AP": 0.0, "eval/APl": None, "eval/loss": 1.0}


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_learning_rate_is_a_function_of_the_images_seen(toy, batch_size):
    run = toy(schedule=MultiStep(drops=(6,), gamma=0.1, warmup=4, warmup_factor=0.5))
    run.trainer(batch_size=batch_size, max_steps=12 // batch_size, every=(0, 0, 1)).fit()
    logged = {step * batch_size: values["train/lr"] for step, values in run.told.entries if "train/lr" in values}
    expected = {0: 0.5, 1: 0.625, 2: 0.75, 3: 0.875, 4: 1.0, 5: 1.0, 6: 0.1, 7: 0.1, 8: 0.1, 9: 0.1, 10: 0.1, 11: 0.1}
    assert len(logged) == 12 // batch_size
    for images_after, lr in logged.items():
        assert lr == pytest.approx(0.01 * expected[images_after - batch_size])


# Best, last, patience


def test_the_best_checkpoint_is_that_of_the_highest_ap_and_the_last_that_of_the_end(toy, saves):
    run = toy(aps=(0.1, 0.3, 0.2, 0.3))
    trainer = run.trainer(every=(0, 1, 0))
    trainer.fit()
    assert saves == ["best.pt", "best.pt", "last.pt"]
    assert run.progress_in("best.pt")["step"] == 2
    assert load_checkpoint(run.folder / "checkpoints" / "best.pt")["best_metrics"]["AP"] == 0.3
    assert run.progress_in("last.pt") == {**run.progress_in("best.pt"), "step": 4, "images": 8, "position": 8,
                                   "evaluated_step": 4, "evaluations_without_gain": 2}  # fmt: skip
    assert json.loads((run.folder / "eval" / "val" / "metrics.json").read_text())["AP"] == 0.3
    assert (run.folder / "eval" / "val" / "detections.json").is_file()
    assert trainer.best_metrics["AP"] == 0.3


def test_the_evaluations_files_stand_under_the_split_that_was_evaluated(toy):
    run = toy()
    trainer = run.trainer()
    trainer.settings = replace(trainer.settings, eval=replace(trainer.settings.eval, split="train"))
    trainer.fit()
    assert [path.name for path in (run.folder / "eval").iterdir()] == ["train"]


def test_a_run_stops_when_its_patience_is_at_an_end(toy, saves):
    run = toy(aps=(0.1, 0.5, 0.4, 0.5, 0.9))
    run.trainer(max_steps=100, patience=2, every=(0, 3, 0)).fit()
    assert run.told.steps("eval/AP") == [3, 6, 9, 12]
    assert any("no better AP in 2 evaluations" in line for line in run.told.said)
    assert saves == ["best.pt", "best.pt", "last.pt"]
    assert run.progress_in("last.pt")["step"] == 12


def test_a_better_evaluation_renews_the_patience(toy):
    run = toy(aps=(0.5, 0.4, 0.6, 0.5, 0.7, 0.7))
    run.trainer(max_steps=6, patience=2, every=(0, 1, 0)).fit()
    assert run.told.steps("eval/AP") == [1, 2, 3, 4, 5, 6]
    assert run.told.said == []


def test_without_an_object_to_find_there_is_no_best_and_no_impatience(toy, saves):
    run = toy(aps=(None,) * 4)
    trainer = run.trainer(patience=1, every=(0, 1, 0))
    trainer.fit()
    assert run.told.steps("eval/AP") == [1, 2, 3, 4]
    assert saves == ["last.pt"]
    assert trainer.best_metrics == {}
    assert json.loads((run.folder / "eval" / "val" / "metrics.json").read_text())["AP"] is None
