"""A run of one weight: its steps can be computed by hand, and everything it tells is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retina.evaluation.evaluate import Evaluation
from retina.machine import Machine
from retina.settings import CheckpointSettings, EvalSettings, LogSettings, RunSettings, TrainSettings
from retina.structures import AnchorTargets, Batch, BoxCells, BoxTargets, ImageBatch, Predictions
from retina.training import trainer as trainer_module
from retina.training.checkpoint import load_checkpoint
from retina.training.progress import RunLength
from retina.training.schedules import MultiStep, Schedule
from retina.training.trainer import Parts, Trainer

NOT_FINITE = 255  # the pixel value that makes the toy loss infinite
IMAGES_PER_EPOCH = 12


class OneWeight(nn.Module):
    """The logit of an image is the weight times its pixels' value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: ImageBatch, box_cells: BoxCells | None = None) -> Predictions:
        values = images.pixels[:, 0, 0, 0].float()
        logits = self.weight * values + torch.where(values == NOT_FINITE, torch.inf, 0.0)
        return Predictions(logits[:, None, None], torch.zeros(0, 4), [(1, 1)], torch.arange(0))


class Squares(nn.Module):
    """Sum of ``(logit - 1)^2``, and 3 for every positive anchor."""

    def forward(self, predictions: Predictions, targets: AnchorTargets) -> dict[str, Tensor]:
        squares = (predictions.logits - 1).square()
        return {"classification": squares.sum(), "box": torch.tensor(3.0 * targets.num_positives)}


def make_batch(*values: int, positives: int = 1) -> Batch:
    """A batch of one flat image for each of ``values``."""
    pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).clone()
    targets = AnchorTargets(
        torch.arange(positives),
        torch.zeros(positives, dtype=torch.int64),
        torch.zeros(positives, 4),
        torch.zeros(positives, 4),
        torch.zeros(0, dtype=torch.int64),
    )
    sizes = [(4, 4)] * len(values)
    box_targets = [BoxTargets.empty()] * len(values)
    return Batch(ImageBatch(pixels, torch.tensor(sizes)), targets, list(values), sizes, box_targets)


@dataclass
class Told:
    """Stands for the run's log and keeps what it is told."""

    entries: list[tuple[int, dict[str, float | None]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def scalars(self, step: int, epoch: float, values: dict[str, float | None]) -> None:
        self.entries.append((step, values))

    def advance(self, step: int, epoch: float) -> None: ...

    def pictures(self, tag: str, images: Sequence[Any], step: int) -> None:
        self.shown.append(tag)

    def say(self, text: str) -> None:
        self.said.append(text)

    def steps(self, name: str) -> list[int]:
        """The steps at which a scalar of this name was logged."""
        return [step for step, values in self.entries if name in values]


@dataclass
class ToyRun:
    """Settings of a run on images whose values are 1, 2, 3, 1, 2, 3, ... but for ``values``."""

    folder: Path
    aps: Sequence[float | None] = ()  # of the evaluations; afterwards 0
    values: dict[int, int] = field(default_factory=dict)  # of images by their position in the stream
    schedule: Schedule = field(default_factory=lambda: MultiStep(drops=(), warmup=0))
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD
    optimizer_settings: dict[str, Any] = field(default_factory=lambda: {"lr": 0.01, "fused": True})
    machine: Machine = Machine(torch.device("cpu"), "float32")
    starts: list[int] = field(default_factory=list)  # positions that loaders were asked to start from
    evaluated: list[float] = field(default_factory=list)  # the weight at each evaluation
    on_evaluate: Callable[[], object] = lambda: None
    batch = staticmethod(make_batch)
    told: Told = field(default_factory=Told)

    def trainer(self, *, done: Any = None, every: tuple[Any, Any, Any] = (0, 0, 0), **train: Any) -> Trainer:
        """A trainer; ``every``: of checkpoints, evaluations and log entries; ``train``: settings of that name."""
        settings = RunSettings(
            train=TrainSettings(**{"batch_size": 2, "max_steps": 4, **train}),
            checkpoint=CheckpointSettings(every[0]),
            eval=EvalSettings(every[1]),
            log=LogSettings(every[2]),
        )
        model = OneWeight()
        parts = Parts(
            model=model,
            criterion=Squares(),
            optimizer=self.optimizer([model.weight], **self.optimizer_settings),
            schedule=self.schedule,
            make_loader=lambda start: self._batches(start, settings.train),
            evaluate=self._evaluate,
            draw=lambda _: [],
            identity={"class_names": ["thing"], "category_ids": [1], "config": "a: 1"},
        )
        (self.folder / "checkpoints").mkdir(exist_ok=True, parents=True)
        length = RunLength.from_settings(settings.train, IMAGES_PER_EPOCH, done=done)
        return Trainer(parts, settings, length, self.machine, run_dir=self.folder, run_log=self.told)

    def progress_in(self, name: str) -> dict[str, float]:
        """Where the run stood when it wrote a checkpoint of this name."""
        return load_checkpoint(self.folder / "checkpoints" / name)["progress"]

    def _batches(self, start: int, train: TrainSettings) -> Iterator[Batch]:
        self.starts.append(start)
        size, position = train.batch_size // train.accumulate, start
        while True:
            yield make_batch(*(self.values.get(p, p % 3 + 1) for p in range(position, position + size)))
            position += size

    def _evaluate(self, model: nn.Module) -> Evaluation:
        number = len(self.evaluated)
        self.evaluated.append(float(model.weight.detach()))
        self.on_evaluate()
        ap = self.aps[number] if number < len(self.aps) else 0.0
        return Evaluation({"AP": ap, "APl": None, "loss": 1.0, "per_class": []}, [], {})


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., ToyRun]:
    """Make a toy run with its directory."""
    return partial(ToyRun, tmp_path / "run")


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the checkpoints in the order in which they are written."""
    names: list[str] = []
    write = trainer_module.save_checkpoint

    def note(path: Path, state: dict[str, Any]) -> None:
        names.append(path.name)
        write(path, state)

    monkeypatch.setattr(trainer_module, "save_checkpoint", note)
    return names
