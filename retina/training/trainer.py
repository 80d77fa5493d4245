"""The training run: steps, and when to log, evaluate, save and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from retina import distributed
from retina.data.bad_images import BadImages
from retina.drawing.samples import batch_pictures
from retina.errors import DataError, DivergedError, Interrupted
from retina.evaluation.evaluate import Evaluation
from retina.evaluation.results import write_evaluation
from retina.machine import Machine, without_compilation
from retina.settings import Interval, RunSettings
from retina.structures import Batch
from retina.training.checkpoint import save_checkpoint
from retina.training.manifest import Phases
from retina.training.progress import Progress, RunLength
from retina.training.run_log import RunLog
from retina.training.schedules import Schedule
from retina.training.signals import StopRequest
from retina.training.state import restore_run, run_state
from retina.training.step import StepTotals, TrainStep, images_of
from retina.training.tensorboard import Panels


@dataclass(frozen=True)
class Parts:
    """What a run is made of, built by the caller."""

    model: nn.Module  # on its device
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule  # factor on the base learning rate
    make_loader: Callable[[int], Iterable[Batch]]  # the endless stream of micro-batches from a position on
    evaluate: Callable[[nn.Module], Evaluation]
    draw: Callable[[Evaluation], Sequence[np.ndarray]]  # pictures of fixed validation images
    identity: Mapping[str, Any]  # plain values that every checkpoint carries: configuration, class names, ...
    num_images: int = 0  # of the training data
    notes: Sequence[str] = ()  # what there is to tell of them at the start
    look: Callable[[nn.Module], Panels] | None = None  # at the losses, on the main rank alone; changes nothing


class Trainer:
    """Train ``parts`` for ``length``; everything that a run leaves behind is in ``run_dir``."""

    def __init__(
        self, parts: Parts, settings: RunSettings, length: RunLength, machine: Machine, run_dir: Path, run_log: RunLog
    ) -> None:
        # What is trained, for how long, and where it is told
        self.parts, self.settings, self.length = parts, settings, length
        self.run_dir, self.run_log = run_dir, run_log
        self.train_step = TrainStep(parts.model, parts.criterion, parts.optimizer, settings.train, machine)
        # Where the run stands
        self.progress = Progress()
        self.saved: Progress | None = None  # what `last.pt` holds
        self.learning_rate = 0.0
        self.metrics: dict[str, Any] = {}  # of the last evaluation
        self.best_metrics: dict[str, Any] = {}
        self.bad_images = BadImages(parts.num_images)
        self.phases = Phases()

    def fit(self) -> dict[str, Any]:
        """Train to the end and return the metrics of the last evaluation.

        Raises:
            DataError: an image cannot be used, or too many cannot.
            DivergedError: a loss or gradient was not finite.
            Interrupted: a signal asked to stop; everything is saved.
        """
        if self.progress.step >= self.length.num_steps:
            self.run_log.say(
                f"the run is complete: its {self.length.num_steps} steps are made. "
                "To train longer, raise what ends it: train.epochs, train.max_steps or train.max_images"
            )
        with StopRequest(announce=distributed.is_main()) as stop:
            stream = self._stream()
            while self.progress.step < self.length.num_steps and not self._out_of_patience():
                before = self.progress.step
                with self.phases("train"), self.train_step.totals.timed():
                    micro_batches = self._next_step(stream)
                    self.update(micro_batches)
                if before == 0 and distributed.is_main():
                    # What the network sees, after augmentation: wrong boxes or colours meet the eye here first.
                    pictures = batch_pictures(micro_batches[0], self.parts.identity["class_names"])
                    self.run_log.pictures("train/first_batch", pictures, 0)
                if self.progress.step == before:
                    self._check_finite()  # a run that skips every update would never come to its next log
                else:
                    self.run_log.advance(self.progress.step, self.epoch)
                    if self._due("log.every", before) or self.progress.step == self.length.num_steps:
                        self._log()
                    if self._due("eval.every", before):
                        self.evaluate()
                    if self._due("log.focal_every", before):
                        self.look()
                    if self._due("checkpoint.every", before):
                        self.save()
                self._stop_if_needed(stop)
            if self.progress.evaluated_step != self.progress.step:
                self.evaluate()
            self.save()
            self._stop_if_needed(stop)
        return self.metrics

    @property
    def epoch(self) -> int:  # completed
        return self.length.epoch(self.progress.step)

    def update(self, micro_batches: list[Batch]) -> None:
        """Make one optimizer step at the learning rate that is due, and count it."""
        factor = self.parts.schedule(
            self.length.images_seen(self.progress.step),
            run_images=self.length.num_images,
            images_per_epoch=self.length.images_per_epoch,
        )
        self.learning_rate = self.train_step.set_learning_rate(factor)
        updated = self.train_step(micro_batches)
        images = images_of(micro_batches)
        self.progress.position += images
        if updated:
            self.progress.step += 1
            self.progress.images += images

    def evaluate(self) -> None:
        """Evaluate the (averaged) weights, log the numbers and pictures, keep the best."""
        step = self.progress.step
        with self.phases("evaluate"):
            with without_compilation():
                evaluation = self.parts.evaluate(self.train_step.evaluated_model)
            self.metrics = distributed.broadcast_object(evaluation.metrics)
            # All but `per_class`; None is COCO's -1, a number that the data set does not define.
            scalars = {f"eval/{name}": value for name, value in self.metrics.items() if not isinstance(value, list)}
            self.run_log.scalars(step, self.epoch, scalars)
            if distributed.is_main():
                self.run_log.pictures("validation", self.parts.draw(evaluation), step)
        self.progress.evaluated_step = step
        # Without an object to find no evaluation is better than another: there is no best, and the newest is kept.
        ap = self.metrics["AP"]
        is_best = ap is not None and ap > self.progress.best_ap
        if is_best:
            self.progress.best_ap, self.progress.best_step, self.progress.evaluations_without_gain = ap, step, 0
            self.best_metrics = self.metrics
            self._write("best.pt")
        elif ap is not None:
            self.progress.evaluations_without_gain += 1
        if distributed.is_main() and (is_best or ap is None):
            folder = self.run_dir / "eval" / self.settings.eval.split
            write_evaluation(folder, metrics=evaluation.metrics, results=evaluation.results)

    def look(self) -> None:
        """Show what the losses of the (averaged) weights look like; the other ranks wait in their next exchange."""
        if self.parts.look is None or not distributed.is_main():
            return
        with self.phases("look"), without_compilation():
            panels = self.parts.look(self.train_step.evaluated_model)
            self.run_log.panels(self.progress.step, self.epoch, panels)

    def save(self) -> None:
        """Write ``checkpoints/last.pt`` unless it is that already; a run that diverged keeps its last good one."""
        if self.saved == self.progress:
            return
        with self.phases("save"):
            self._write("last.pt")
        self.saved = replace(self.progress)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that resuming needs: tensors and plain values only."""
        return {
            **self.parts.identity,
            **run_state(self.progress, self.train_step),
            "metrics": self.metrics,
            "best_metrics": self.best_metrics,
            "bad_images": self.bad_images.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume exactly where ``state`` was saved.

        Raises:
            CheckpointError: the checkpoint is of another format, model or optimizer.
        """
        restore_run(state, self.progress, self.train_step)
        self.metrics, self.best_metrics = dict(state["metrics"]), dict(state["best_metrics"])
        self.bad_images.load_state_dict(state.get("bad_images", {}))
        self.saved = replace(self.progress)

    def _stream(self) -> Iterator[list[Batch]]:
        """Yield the micro-batches of one step after the other, from where the run stands."""
        batches = iter(self.parts.make_loader(self.progress.position))
        while True:
            yield list(islice(batches, self.settings.train.accumulate))

    def _next_step(self, stream: Iterator[list[Batch]]) -> list[Batch]:
        """Return the micro-batches of the next step and keep what they say of images that could not be used."""
        try:
            micro_batches = next(stream)
        except DataError:
            if distributed.world_size() == 1:  # other ranks are not here to save with
                self.save()
            raise
        self.bad_images.note(micro_batches)
        return micro_batches

    def _due(self, setting: str, before: int) -> bool:
        """Return whether the last step reached an occasion of the interval at ``setting``."""
        step, length = self.progress.step, self.length
        interval = Interval.parse(attrgetter(setting)(self.settings))
        return interval.crossed(step, length.images_seen(before), length.images_seen(step), length.images_per_epoch)

    def _log(self) -> None:
        self._check_finite()
        scalars = {**self.train_step.totals.scalars(), "train/lr": self.learning_rate}
        self.run_log.scalars(self.progress.step, self.epoch, scalars)
        self.train_step.totals = StepTotals()

    def _check_finite(self) -> None:
        if self.train_step.has_diverged():
            raise DivergedError(
                f"the loss or a gradient is not finite, at or shortly before step {self.progress.step}",
                why="usual causes: a learning rate too high for the batch size, no warm-up, fp16 overflow. "
                "Nothing was saved after the last good checkpoint.",
                fix="a lower optimizer.lr, train.max_grad_norm=10, or train.precision=float32; "
                f"then resume with resume={self.run_dir}",
            )

    def _write(self, name: str) -> None:
        self._check_finite()
        if distributed.is_main():
            save_checkpoint(self.run_dir / "checkpoints" / name, self.state_dict())
        distributed.barrier()

    def _out_of_patience(self) -> bool:
        patience = self.settings.train.patience
        if patience is None or self.progress.evaluations_without_gain < patience:
            return False
        self.run_log.say(f"no better AP in {patience} evaluations: stopped early")
        return True

    def _stop_if_needed(self, stop: StopRequest) -> None:
        # Every rank leaves at the same step, whichever got the signal or met the image.
        told = distributed.gather_objects((stop.signal_number or 0, self.bad_images.take_noted()))
        for reason in self.bad_images.agree([reasons for _, reasons in told]):
            self.run_log.say(f"another image stands in for one that cannot be used: {reason}")
        if self.bad_images.too_many:
            self.save()
            raise self.bad_images.error()
        if number := max(number for number, _ in told):
            self.save()
            raise Interrupted(
                f"stopped by signal {number} at step {self.progress.step}; everything is saved",
                signal_number=number,
                fix=f"resume with resume={self.run_dir}",
            )
