"""The training run: steps, logs, evaluations, checkpoints, and stopping cleanly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from retina import distributed
from retina.data.bad_images import BadImages
from retina.drawing.samples import batch_pictures
from retina.errors import DataError, DivergedError, Interrupted
from retina.evaluation.evaluate import Evaluation
from retina.evaluation.results import write_evaluation
from retina.machine import autocast, gradient_scaler
from retina.settings import Interval, RunSettings
from retina.structures import Batch
from retina.training.checkpoint import save_checkpoint
from retina.training.compilation import compile_parts, without_compilation
from retina.training.ema import Ema
from retina.training.progress import Progress, RunLength
from retina.training.run_directory import Phases
from retina.training.run_log import RunLog
from retina.training.schedules import Schedule
from retina.training.signals import StopRequest
from retina.training.state import RunState
from retina.training.tensorboard import Panels

# Where a gradient is not finite at a loss scale of 2^-20 it did not overflow: it is not finite at any scale.
MIN_LOSS_SCALE = 2.0**-20


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


@dataclass
class StepTotals:
    """Sums on the device since the last log; reading them is the only time the host waits for the device."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    grad_norm: Tensor | None = None
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def add(self, losses: dict[str, Tensor], grad_norm: Tensor, images: int) -> None:
        """Add one step."""
        for name, loss in losses.items():
            self.losses[name] = self.losses[name] + loss if name in self.losses else loss
        self.grad_norm = grad_norm if self.grad_norm is None else self.grad_norm + grad_norm
        self.steps += 1
        self.images += images

    def scalars(self) -> dict[str, float]:
        """Return the means over the steps and over all ranks, under the names of the logs."""
        means = {name: distributed.mean_over_ranks(float(loss) / self.steps) for name, loss in self.losses.items()}
        return {
            "train/loss": sum(means.values()),
            **{f"train/loss_{name}": value for name, value in means.items()},
            "train/grad_norm": float(self.grad_norm) / self.steps if self.grad_norm is not None else 0.0,
            "train/images_per_second": self.images / max(self.seconds, 1e-9),
        }


class Trainer:
    """Train ``parts`` for ``length``; everything that a run leaves behind is in ``run_dir``."""

    def __init__(
        self, parts: Parts, settings: RunSettings, length: RunLength, *, run_dir: Path, run_log: RunLog, precision: str
    ) -> None:
        """Args: ``precision`` resolved: float32, bf16 or fp16."""
        self.parts, self.settings, self.length = parts, settings, length
        self.run_dir, self.run_log, self.precision = run_dir, run_log, precision
        self.device = next(parts.model.parameters()).device
        if settings.train.compile:
            compile_parts(parts.model)
        self.model = self._distribute(parts.model)
        self.ema = Ema(parts.model, settings.train.ema_decay) if settings.train.ema_decay is not None else None
        self.scaler = gradient_scaler(precision, self.device)
        self.parameters = [parameter for parameter in parts.model.parameters() if parameter.requires_grad]
        self.base_lrs = [group["lr"] for group in parts.optimizer.param_groups]
        self.progress = Progress()
        self.state = RunState(self.progress, parts.model, self.ema, parts.optimizer, self.scaler, parts.criterion)
        self.saved: Progress | None = None  # what `last.pt` holds
        self.bad_images = BadImages(parts.num_images)
        self.phases = Phases()
        self.totals = StepTotals()
        # Set on the device when a loss or gradient is not finite; read when logging and before every save.
        self.diverged = torch.zeros((), device=self.device)
        self.metrics: dict[str, Any] = {}  # of the last evaluation
        self.best_metrics: dict[str, Any] = {}

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
                "To go on, raise what ends it: train.epochs, train.max_steps or train.max_images"
            )
        with StopRequest(announce=distributed.is_main()) as stop:
            stream = self._stream()
            while self.progress.step < self.length.num_steps:
                if self._out_of_patience():
                    self.run_log.say(f"no better AP in {self.settings.train.patience} evaluations: stopped early")
                    break
                before = self.progress.step
                began = time.perf_counter()
                with self.phases("train"):
                    micro_batches = self._next_step(stream)
                    self.train_step(micro_batches)
                self.totals.seconds += time.perf_counter() - began
                if before == 0:
                    self._show_first_batch(micro_batches[0])
                if self.progress.step > before:
                    self._after_step(before)
                else:
                    self._check_finite()  # a run that skips every update would never come to its next log
                self._stop_if_needed(stop)
            if self.progress.evaluated_step != self.progress.step:
                self.evaluate()
            self.save()
            self._stop_if_needed(stop)
        return self.metrics

    def train_step(self, micro_batches: list[Batch]) -> None:
        """Make one optimizer step over its micro-batches.

        DDP averages gradients over ranks, so sum / (mean positives of a rank), averaged, is total sum / total
        positives: the result does not depend on how the batch is split.
        """
        images = sum(len(batch) for batch in micro_batches) * distributed.world_size()
        learning_rate = self._set_learning_rate()
        # The targets came with the batches, so the step's normaliser is known before the first forward pass.
        positives = distributed.mean_over_ranks(float(sum(batch.targets.num_positives for batch in micro_batches)))
        # At least one positive in the whole step: 1 over all ranks is 1 / world_size a rank.
        scale = 1.0 / max(positives, 1.0 / distributed.world_size())

        totals: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches, start=1):
            box_cells = batch.targets.box_cells  # on the host: the box tower is planned there
            batch = batch.to(self.device, non_blocking=True)
            with self._gradient_sync(last=number == len(micro_batches)):
                with autocast(self.precision, self.device):
                    predictions = self.model(batch.images, box_cells=box_cells)
                losses = self.parts.criterion(predictions, batch.targets)  # float32, outside autocast
                self.scaler.scale(sum(losses.values()) * scale).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() * scale

        self.scaler.unscale_(self.parts.optimizer)
        grad_norm = clip_grad_norm_(self.parameters, self.settings.train.max_grad_norm or float("inf"))
        updated = self._update_if_finite(torch.stack(list(totals.values())).sum(), grad_norm)
        self.parts.optimizer.zero_grad(set_to_none=True)
        self.progress.position += images
        if updated:
            self.progress.step += 1
            self.progress.images += images
            if self.ema is not None:
                self.ema.update(self.parts.model)
            self.totals.add(totals, grad_norm, images)
        self.learning_rate = learning_rate

    def evaluate(self) -> None:
        """Evaluate the (averaged) weights, log the numbers and pictures, keep the best."""
        with self.phases("evaluate"):
            with without_compilation():
                evaluation = self.parts.evaluate(self._evaluated_model)
            self.metrics = distributed.broadcast_object(evaluation.metrics)
            # All but `per_class`; None is COCO's -1, a number that the data set does not define.
            scalars = {f"eval/{name}": value for name, value in self.metrics.items() if not isinstance(value, list)}
            self.run_log.scalars(self.progress.step, self.length.epoch(self.progress.step), scalars)
            if distributed.is_main():
                self.run_log.pictures("validation", self.parts.draw(evaluation), self.progress.step)
        self.progress.evaluated_step = self.progress.step
        self._keep_if_best(evaluation)

    def look(self) -> None:
        """Show what the losses of the (averaged) weights look like; the other ranks wait in their next exchange."""
        if self.parts.look is None or not distributed.is_main():
            return
        with self.phases("look"), without_compilation():
            step = self.progress.step
            self.run_log.panels(step, self.length.epoch(step), self.parts.look(self._evaluated_model))

    def save(self) -> None:
        """Write ``checkpoints/last.pt`` unless it is that already; a run that diverged keeps its last good one."""
        if self.saved == self.progress:
            return
        with self.phases("save"):
            self._write("last.pt")
        self.saved = replace(self.progress)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that resuming needs: tensors and plain values only."""
        metrics = {"metrics": self.metrics, "best_metrics": self.best_metrics}
        bad_images = {"bad_images": self.bad_images.state_dict()}
        return {**self.parts.identity, **self.state.state_dict(), **metrics, **bad_images}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where ``state`` was saved.

        Raises:
            CheckpointError: the checkpoint is of another format, model or optimizer.
        """
        self.state.load_state_dict(state)
        self.metrics, self.best_metrics = dict(state["metrics"]), dict(state["best_metrics"])
        self.bad_images.load_state_dict(state.get("bad_images", {}))
        self.saved = replace(self.progress)

    @property
    def _evaluated_model(self) -> nn.Module:
        return self.ema.model if self.ema is not None else self.parts.model

    def _distribute(self, model: nn.Module) -> nn.Module:
        if distributed.world_size() == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

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

    def _set_learning_rate(self) -> float:
        factor = self.parts.schedule(
            self.length.images_seen(self.progress.step),
            run_images=self.length.num_images,
            images_per_epoch=self.length.images_per_epoch,
        )
        for group, base in zip(self.parts.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        return self.base_lrs[0] * factor

    def _gradient_sync(self, *, last: bool) -> AbstractContextManager[None]:
        """Return a context in which ranks exchange gradients only with the last micro-batch."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _update_if_finite(self, loss: Tensor, grad_norm: Tensor) -> bool:
        """Update the weights, unless something is not finite; tell whether the update counts."""
        if self.scaler.is_enabled():
            # Infinite gradients are how the scaler finds its scale; only the loss tells of divergence.
            self.diverged += (~loss.isfinite()).float()
            scale = self.scaler.get_scale()
            self.scaler.step(self.parts.optimizer)
            self.scaler.update()
            self.diverged += float(self.scaler.get_scale() < MIN_LOSS_SCALE)
            return self.scaler.get_scale() >= scale
        not_finite = (~(loss.isfinite() & grad_norm.isfinite())).float()
        self.diverged += not_finite
        if all(group.get("fused") for group in self.parts.optimizer.param_groups):
            # The one kernel skips the update on the device where this is 1; the host learns of it when it logs.
            self.parts.optimizer.found_inf = not_finite  # type: ignore[attr-defined]
        elif not_finite:  # the plain path: the host waits for the device
            return False
        self.parts.optimizer.step()
        return True

    def _keep_if_best(self, evaluation: Evaluation) -> None:
        """Write ``best.pt`` and the evaluation's files where the AP is the best so far."""
        ap = self.metrics["AP"]
        if ap is None:
            # No object to find, so no evaluation is better than another: there is no best, and the newest is shown.
            self._write_evaluation(evaluation)
            return
        self.progress.evaluations_without_gain += 1
        if ap > self.progress.best_ap:
            self.progress.best_ap, self.progress.best_step = ap, self.progress.step
            self.progress.evaluations_without_gain = 0
            self.best_metrics = self.metrics
            self._write("best.pt")
            self._write_evaluation(evaluation)

    def _write_evaluation(self, evaluation: Evaluation) -> None:
        if distributed.is_main():
            folder = self.run_dir / "eval" / self.settings.eval.split
            write_evaluation(folder, metrics=evaluation.metrics, results=evaluation.results)

    def _show_first_batch(self, batch: Batch) -> None:
        """Show what the network sees, boxes after augmentation: where wrong boxes or colours meet the eye first."""
        if distributed.is_main():
            self.run_log.pictures("train/first_batch", batch_pictures(batch, self.parts.identity["class_names"]), 0)

    def _after_step(self, before: int) -> None:
        step = self.progress.step
        self.run_log.advance(step, self.length.epoch(step))
        if self._due(self.settings.log.every, "log.every", before) or step == self.length.num_steps:
            self._log()
        if self._due(self.settings.eval.every, "eval.every", before):
            self.evaluate()
        if self._due(self.settings.log.focal_every, "log.focal_every", before):
            self.look()
        if self._due(self.settings.checkpoint.every, "checkpoint.every", before):
            self.save()

    def _due(self, every: int | str, setting: str, before: int) -> bool:
        return Interval.parse(every).crossed(
            self.progress.step,
            self.length.images_seen(before),
            self.length.images_seen(self.progress.step),
            self.length.images_per_epoch,
        )

    def _log(self) -> None:
        self._check_finite()
        if self.totals.steps:
            scalars = {**self.totals.scalars(), "train/lr": self.learning_rate}
            self.run_log.scalars(self.progress.step, self.length.epoch(self.progress.step), scalars)
        self.totals = StepTotals()

    def _check_finite(self) -> None:
        if distributed.mean_over_ranks(float(self.diverged)) > 0:
            raise DivergedError(
                f"the loss or a gradient is not finite, at or shortly before step {self.progress.step}",
                why="usual causes: a learning rate too high for the batch size, no warm-up, fp16 overflow. "
                "Nothing was saved after the last good checkpoint.",
                fix="a lower optimizer.lr, train.max_grad_norm=10, or train.precision=float32; "
                f"then resume={self.run_dir}",
            )

    def _write(self, name: str) -> None:
        self._check_finite()
        if distributed.is_main():
            save_checkpoint(self.run_dir / "checkpoints" / name, self.state_dict())
        distributed.barrier()

    def _out_of_patience(self) -> bool:
        patience = self.settings.train.patience
        return patience is not None and self.progress.evaluations_without_gain >= patience

    def _stop_if_needed(self, stop: StopRequest) -> None:
        # Every rank leaves at the same step, whichever got the signal or met the image.
        told = distributed.gather_objects((stop.signal_number or 0, self.bad_images.take_noted()))
        for reason in self.bad_images.agree([reasons for _, reasons in told]):
            self.run_log.say(f"another image stands in for one that cannot be used: {reason}")
        if self.bad_images.too_many:
            self.save()
            raise self.bad_images.error()
        number = max(number for number, _ in told)
        if number:
            self.save()
            raise Interrupted(
                f"stopped by signal {number} at step {self.progress.step}; everything is saved",
                signal_number=number,
                fix=f"go on with: python train.py resume={self.run_dir}",
            )
