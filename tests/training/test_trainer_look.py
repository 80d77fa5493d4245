"""When the trainer looks at the losses, and at which weights."""

from __future__ import annotations

from dataclasses import replace

from retina import distributed
from retina.settings import LogSettings
from retina.training.tensorboard import Panels


def looking(run, *, focal_every, **train):
    """A trainer that looks, the weights that it has looked at, and the steps at which panels were shown."""
    trainer = run.trainer(**train)
    seen, shown = [], []

    def look(model) -> Panels:
        seen.append(float(model.weight.detach()))
        return Panels({}, {}, {"loss_lab/a": 1.0})

    run.told.panels = lambda step, epoch, panels: shown.append((step, epoch, panels.scalars))
    trainer.parts = replace(trainer.parts, look=look)
    trainer.settings = replace(trainer.settings, log=LogSettings(0, focal_every))
    return trainer, seen, shown


def test_panels_are_shown_when_they_are_due(toy):
    trainer, seen, shown = looking(toy(), focal_every=2, max_steps=5)
    trainer.fit()
    assert [step for step, _, _ in shown] == [2, 4]
    assert len(seen) == 2
    assert shown[0][2] == {"loss_lab/a": 1.0}
    assert "look" in trainer.phases.seconds()


def test_they_may_be_due_once_an_epoch(toy):
    trainer, _, shown = looking(toy(), focal_every="1epoch", max_steps=13)  # 6 steps of 2 are 12 images
    trainer.fit()
    assert [step for step, _, _ in shown] == [6, 12]


def test_nobody_looks_unless_asked_to(toy):
    trainer, seen, shown = looking(toy(), focal_every=0)
    trainer.fit()
    assert seen == shown == []
    plain = toy().trainer()
    plain.settings = replace(plain.settings, log=LogSettings(0, 1))
    plain.fit()  # asked to, but there is nothing that could


def test_the_weights_that_are_evaluated_are_looked_at(toy):
    run = toy()
    trainer, seen, _ = looking(run, focal_every=4, ema_decay=0.9)
    trainer.fit()
    assert seen == run.evaluated == [float(trainer.train_step.ema.model.weight)]


def test_other_ranks_do_not_look(toy, monkeypatch):
    trainer, seen, shown = looking(toy(), focal_every=1)
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    trainer.look()
    assert seen == shown == []
