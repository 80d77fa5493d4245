"""One optimizer step over its micro-batches: what it changes, and the sums that are logged; no file, no log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from retina import distributed
from retina.machine import Machine, compile_parts
from retina.settings import TrainSettings
from retina.structures import Batch
from retina.training.ema import Ema

# Where a gradient is not finite at a loss scale of 2^-20 it did not overflow: it is not finite at any scale.
MIN_LOSS_SCALE = 2.0**-20


@dataclass
class StepTotals:
    """Sums on the device since the last log; reading them is the only time the host waits for the device."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    grad_norm: Tensor | float = 0.0
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def add(self, losses: Mapping[str, Tensor], grad_norm: Tensor, images: int) -> None:
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss
        self.grad_norm = self.grad_norm + grad_norm
        self.steps += 1
        self.images += images

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block, which includes the wait for images."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    def scalars(self) -> dict[str, float]:
        """Return the means over the steps and over all ranks, under the names of the logs."""
        means = {name: distributed.mean_over_ranks(float(loss) / self.steps) for name, loss in self.losses.items()}
        return {
            "train/loss": sum(means.values()),
            **{f"train/loss_{name}": value for name, value in means.items()},
            "train/grad_norm": float(self.grad_norm) / max(self.steps, 1),
            "train/images_per_second": self.images / max(self.seconds, 1e-9),
        }


class TrainStep:
    """Forward, backward and update over the micro-batches of one step: ``updated = train_step(micro_batches)``."""

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        machine: Machine,
    ) -> None:
        """Args: ``model`` on the device of ``machine``."""
        # What trains
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        # Where and how
        self.machine, device = machine, machine.device
        if settings.compile:
            compile_parts(model)
        self.parallel_model: Any = model
        if distributed.world_size() > 1:
            devices = [device.index] if device.type == "cuda" else None
            self.parallel_model = DistributedDataParallel(model, device_ids=devices)
        self.max_grad_norm = settings.max_grad_norm or float("inf")
        # What changes from step to step
        self.scaler = machine.gradient_scaler()
        self.ema = Ema(model, settings.ema_decay) if settings.ema_decay is not None else None
        self.totals = StepTotals()
        # Set on the device when a loss or gradient is not finite; read when logging and before every save.
        self.diverged = torch.zeros((), device=device)

    def set_learning_rate(self, factor: float) -> float:
        """Put every group at ``factor`` of its learning rate; return that of the first one."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        return self.base_lrs[0] * factor

    def __call__(self, micro_batches: Sequence[Batch]) -> bool:
        """Make one optimizer step; return whether it counts, which one that was skipped does not.

        DDP averages gradients over ranks, so sum / (mean positives of a rank), averaged, is total sum / total
        positives: the result does not depend on how the batch is split.
        """
        # The targets came with the batches, so the step's normaliser is known before the first forward pass.
        positives = distributed.mean_over_ranks(float(sum(batch.targets.num_positives for batch in micro_batches)))
        # At least one positive in the whole step: 1 over all ranks is 1 / world_size a rank.
        scale = 1.0 / max(positives, 1.0 / distributed.world_size())

        totals: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches, start=1):
            box_cells = batch.targets.box_cells  # on the host: the box tower is planned there
            batch = batch.to(self.machine.device, non_blocking=True)
            # Ranks exchange gradients only with the last micro-batch.
            waits = distributed.world_size() > 1 and number < len(micro_batches)
            with self.parallel_model.no_sync() if waits else nullcontext():
                with self.machine.autocast():
                    predictions = self.parallel_model(batch.images, box_cells=box_cells)
                losses = self.criterion(predictions, batch.targets)  # float32, outside autocast
                self.scaler.scale(sum(losses.values()) * scale).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() * scale

        self.scaler.unscale_(self.optimizer)
        grad_norm = clip_grad_norm_(self.parameters, self.max_grad_norm)
        updated = self._update_if_finite(torch.stack(list(totals.values())).sum(), grad_norm)
        self.optimizer.zero_grad(set_to_none=True)
        if updated:
            if self.ema is not None:
                self.ema.update(self.model)
            self.totals.add(totals, grad_norm, images_of(micro_batches))
        return updated

    def has_diverged(self) -> bool:
        """Return whether a loss or gradient of any rank was not finite; waits for the device."""
        return distributed.mean_over_ranks(float(self.diverged)) > 0

    @property
    def evaluated_model(self) -> nn.Module:  # the averaged weights, where there are any
        return self.ema.model if self.ema is not None else self.model

    def _update_if_finite(self, loss: Tensor, grad_norm: Tensor) -> bool:
        """Update the weights, unless something is not finite; return whether the update counts."""
        if self.scaler.is_enabled():
            # Infinite gradients are how the scaler finds its scale; only the loss tells of divergence.
            self.diverged += (~loss.isfinite()).float()
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.diverged += float(self.scaler.get_scale() < MIN_LOSS_SCALE)
            return self.scaler.get_scale() >= scale
        not_finite = (~(loss.isfinite() & grad_norm.isfinite())).float()
        self.diverged += not_finite
        if all(group.get("fused") for group in self.optimizer.param_groups):
            # The one kernel skips the update on the device where this is 1; the host learns of it when it logs.
            self.optimizer.found_inf = not_finite  # type: ignore[attr-defined]
        elif not_finite:  # the plain path: the host waits for the device
            return False
        self.optimizer.step()
        return True


def images_of(micro_batches: Sequence[Batch]) -> int:
    """Return the images of a step over all ranks."""
    return sum(len(batch) for batch in micro_batches) * distributed.world_size()
