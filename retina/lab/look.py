"""What a panel of the lab is, and what it is given: a batch that a model has looked at.

A new panel is one class in a module of :mod:`retina.lab.panels`, where it is found: the page, TensorBoard, the log and
the file of numbers only go through the panels.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from retina.drawing.pages import PageTable
from retina.lab.anchor_losses import FocalSettings
from retina.structures import AnchorTargets, BoxTargets, Detections, Predictions
from retina.training.tensorboard import TallyHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES = ("classification", "box")
Earlier = Mapping[type, Any]  # panels that stand before another one, by their class


@dataclass(frozen=True)
class Subject:
    """What all batches of a look have in common: the model's pyramid and classes, its losses, and what is asked."""

    levels: Sequence[str]  # names of the L levels
    class_names: Sequence[str]  # K
    criterion: nn.Module  # in evaluation mode
    focal: FocalSettings  # of the model's own loss, or the paper's
    gammas: Sequence[float]  # that focal losses are compared for
    positive_iou: float  # of the assigner: positives below it are an object's best anchors only
    score_threshold: float  # of the confusion matrix


@dataclass(frozen=True)
class LookedAt:
    """A batch with everything that its pass through the model gave; panels add it up without gradients."""

    predictions: Predictions
    targets: AnchorTargets
    gradient_squares: Mapping[str, np.ndarray]  # (L,) by loss, of the gradients in the shared features
    pull: Tensor  # (S,) sizes of the gradient of the class loss in the logits of each anchor
    detected: Sequence[Detections]
    truth: Sequence[BoxTargets]

    @property
    def logits(self) -> Tensor:  # (S, K), S anchors of all images
        return self.predictions.logits.flatten(0, 1)

    @cached_property
    def groups(self) -> dict[str, Tensor]:
        """Return the positions of positive, of background (``negative``) and of ignored anchors."""
        positive, ignored = self.targets.positive_index, self.targets.ignored_index
        other = torch.ones(len(self.logits), dtype=torch.bool, device=self.logits.device)
        other[torch.cat([positive, ignored])] = False
        return {"positive": positive, "negative": other.nonzero().squeeze(1), "ignored": ignored}


class Panel(ABC):
    """A figure with the words that say how to read it: the docstring of its class is its caption."""

    name: ClassVar[str]  # of its figure in TensorBoard, of its place in the page and of its file
    title: ClassVar[str]

    @property
    def caption(self) -> str:
        return " ".join((self.__doc__ or "").split())

    @abstractmethod
    def figure(self) -> Figure:
        """Return the picture."""


class Look(Panel):
    """A panel of a model on images: adds up batches in a fixed memory, says its numbers and draws its figure."""

    def __init__(self, subject: Subject, earlier: Earlier) -> None:
        """Begin with no image."""
        self.subject = subject
        self.begin(earlier)

    @abstractmethod
    def begin(self, earlier: Earlier) -> None:
        """Set what is counted to nothing; ``earlier`` panels may be read, so that nothing is counted twice."""

    def add(self, batch: LookedAt) -> None:  # noqa: B027  # a panel may show what an earlier one has counted
        """Add ``batch`` to what was seen before."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return every number that is drawn as values for a JSON file, by names that no other panel uses."""

    def numbers(self) -> dict[str, float | None]:
        """Return what is worth a line over a run, by name; None where there is nothing to count."""
        return {}

    def histograms(self) -> dict[str, TallyHistogram]:
        """Return histograms for TensorBoard; those of nothing are left out."""
        return {}

    def glance(self) -> list[tuple[str, str]]:
        """Return what is better read than seen, each with its name."""
        return []

    def tables(self) -> list[PageTable]:
        """Return tables for the page."""
        return []


def make_panels(subject: Subject) -> list[Look]:
    """Return a panel of every class, with no image yet."""
    made: dict[type[Look], Look] = {}
    for kind in panel_classes():
        made[kind] = kind(subject, made)
    return [*made.values()]


def panel_classes() -> list[type[Look]]:
    """Return the classes that modules of :mod:`retina.lab.panels` define, modules by name, classes as they stand."""
    from retina.lab import panels

    modules = [
        importlib.import_module(f"{panels.__name__}.{each.name}") for each in pkgutil.iter_modules(panels.__path__)
    ]
    kinds = [(module, kind) for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return [kind for module, kind in kinds if issubclass(kind, Look) and kind.__module__ == module.__name__]


def percent(share: float | None) -> str:
    """Return ``share`` in percent with a digit; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f} %"
