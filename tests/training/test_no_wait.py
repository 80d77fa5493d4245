"""A step never waits for the device: nothing in it reads a value or depends on one.

Under FakeTensorMode tensors have shapes and no values, so an `.item()`, a `nonzero()` or a boolean mask anywhere in the
step raises, on a machine without a GPU too. (fp16 has the gradient scaler's one known wait.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.box import BoxLoss, L1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import FocalLoss
from retina.detection.losses.overlap import EIoULoss
from retina.machine import Machine
from retina.models.backbones.resnet import ResNet
from retina.models.lazy_tower import subnet as lazy_subnet
from retina.models.lazy_tower.plan import TowerCells, plan_tower
from retina.models.retinanet import build_retinanet
from retina.settings import RunSettings, TrainSettings
from retina.structures import Batch, BoxTargets, ImageBatch
from retina.training import ema as ema_module
from retina.training.optimizers import build_sgd
from retina.training.progress import RunLength
from retina.training.schedules import MultiStep
from retina.training.trainer import Parts, Trainer

CANVAS = (128, 160)


def make_batch() -> Batch:
    crowd = torch.tensor([[90.0, 0.0, 150.0, 90.0]])
    objects = BoxTargets(torch.tensor([[10.0, 20.0, 60.0, 90.0]]), torch.tensor([1]), crowd)
    return Batch(
        images=ImageBatch(torch.zeros(2, 3, *CANVAS, dtype=torch.uint8), torch.tensor([CANVAS, CANVAS])),
        targets=Assigner()(CANVAS, [objects, BoxTargets.empty()]),
        image_ids=[1, 2],
        original_sizes=[CANVAS, CANVAS],
        box_targets=[objects, BoxTargets.empty()],
    )


@contextmanager
def no_values(monkeypatch) -> Iterator[None]:
    """A device of tensors without values: batches come from the host, and on their way to the device lose them."""

    def plan_on_the_host(*arguments: Any, **settings: Any) -> TowerCells:
        with _disable_current_modes():  # where values are
            return plan_tower(*arguments, **settings)

    def copy_without_memory(model: nn.Module) -> nn.Module:
        # torch's copy reads the memory of a tensor, and these have none: the process would crash now and then.
        copies: dict[int, Any] = {id(buffer): buffer.clone() for buffer in model.buffers()}
        copies |= {id(each): nn.Parameter(each.detach().clone(), each.requires_grad) for each in model.parameters()}
        return deepcopy(model, copies)

    monkeypatch.setattr(lazy_subnet, "plan_tower", plan_on_the_host)
    monkeypatch.setattr(ema_module, "deepcopy", copy_without_memory)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        monkeypatch.setattr(Batch, "to", lambda batch, device, non_blocking: batch._map(mode.from_tensor))
        yield


def take_step(
    batch: Batch, folder: Path, *, precision: str, box_tower: str, box_loss: BoxLoss, max_grad_norm: float | None
) -> None:
    """Make one step of the real trainer, all of its tensors on the device without values."""
    train = TrainSettings(batch_size=2, max_steps=9, max_grad_norm=max_grad_norm, ema_decay=0.9)
    model = build_retinanet(
        num_classes=3,
        num_anchors=9,
        backbone=ResNet(depth=18, frozen_stages=2, norm="frozen_bn"),
        weights="imagenet",
        load_weights=False,
        fpn_channels=32,
        tower_channels=32,
        box_tower=box_tower,
    )
    parts = Parts(
        model=model,
        criterion=Criterion(FocalLoss(), box_loss),
        optimizer=build_sgd(model, lr=0.01, momentum=0.9, fused=True),
        schedule=MultiStep(),
        make_loader=lambda position: iter([]),
        evaluate=lambda model: None,
        draw=lambda evaluation: [],
        identity={},
    )
    settings, length = RunSettings(train=train), RunLength.from_settings(train, images_per_epoch=20)
    trainer = Trainer(parts, settings, length, Machine(torch.device("cpu"), precision), run_dir=folder, run_log=None)
    trainer.update([batch])
    assert trainer.progress.step == 1
    assert isinstance(trainer.train_step.totals.losses["box"], FakeTensor), "values were there after all"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("box_tower", ["lazy", "dense"])
@pytest.mark.parametrize("box_loss", [L1Loss(), EIoULoss()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("max_grad_norm", [None, 5.0])
def test_a_step_reads_no_value(tmp_path, monkeypatch, precision, box_tower, box_loss, max_grad_norm):
    batch = make_batch()
    with no_values(monkeypatch):
        take_step(
            batch, tmp_path, precision=precision, box_tower=box_tower, box_loss=box_loss, max_grad_norm=max_grad_norm
        )


class Looking(L1Loss):
    """A loss that looks at a value."""

    def per_box(self, pairs: BoxPairs) -> torch.Tensor:
        return super().per_box(pairs) * float(pairs.deltas.detach().mean())


def test_a_loss_that_reads_a_value_is_noticed(tmp_path, monkeypatch):
    batch = make_batch()
    with no_values(monkeypatch), pytest.raises(DataDependentOutputException):
        take_step(batch, tmp_path, precision="float32", box_tower="lazy", box_loss=Looking(), max_grad_norm=None)
