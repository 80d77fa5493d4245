"""The numbers that a look at a model gives, added up batch by batch, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retina.lab.anchor_losses import FocalSettings
from retina.lab.confusion import Confusion
from retina.lab.gradients import norm_shares
from retina.lab.loss_histogram import LossHistogram

SCORE_BINS = 50  # of p_t, from 0 to 1
GROUPS = ("positive", "negative", "ignored")
LOSSES = ("classification", "box")
HARDEST = 0.01  # share of the anchors that the shares of the loss are told of


@dataclass
class Findings:
    """Sums over images; L pyramid levels, K classes."""

    levels: Sequence[str]
    class_names: Sequence[str]
    gammas: Sequence[float]
    focal: FocalSettings  # the model's own alpha and gamma, or the paper's
    confusion: Confusion
    losses: dict[str, dict[float, LossHistogram]]  # focal losses of the anchors by group (and "all") and gamma
    pull: LossHistogram  # sizes of the gradient of the model's own class loss in the anchors' logits
    scores: dict[str, np.ndarray]  # (SCORE_BINS,) anchors by p_t, by group
    score_sums: dict[str, tuple[float, float]]  # sum and sum of squares of p_t, by group
    positives: np.ndarray  # (L, K)
    low_quality: np.ndarray  # (L,) positives that are only the best anchors of their object
    level_losses: dict[str, np.ndarray]  # (L,) sums of the model's own losses
    gradient_squares: dict[str, np.ndarray]  # (L,) of the model's own losses in the shared features
    num_images: int = 0

    @classmethod
    def empty(
        cls,
        *,
        levels: Sequence[str],
        class_names: Sequence[str],
        gammas: Sequence[float],
        focal: FocalSettings,
        confusion: Confusion,
    ) -> Findings:
        """Return findings of no image."""
        num_levels = len(levels)
        return cls(
            levels=levels,
            class_names=class_names,
            gammas=gammas,
            focal=focal,
            confusion=confusion,
            losses={name: {gamma: LossHistogram() for gamma in gammas} for name in ("positive", "negative", "all")},
            pull=LossHistogram(),
            scores={name: np.zeros(SCORE_BINS, dtype=np.int64) for name in GROUPS},
            score_sums=dict.fromkeys(GROUPS, (0.0, 0.0)),
            positives=np.zeros((num_levels, len(class_names)), dtype=np.int64),
            low_quality=np.zeros(num_levels, dtype=np.int64),
            level_losses={name: np.zeros(num_levels) for name in LOSSES},
            gradient_squares={name: np.zeros(num_levels) for name in LOSSES},
        )

    def add_scores(self, group: str, scores: Tensor) -> None:
        """Count ``(S,)`` probabilities of the anchors of ``group``."""
        values = scores.detach().double().cpu()
        index = (values * SCORE_BINS).long().clamp_(min=0, max=SCORE_BINS - 1)
        self.scores[group] += torch.bincount(index, minlength=SCORE_BINS).numpy()
        first, second = self.score_sums[group]
        self.score_sums[group] = (first + float(values.sum()), second + float(values.square().sum()))

    @property
    def num_positives(self) -> int:
        """Return P of all images."""
        return int(self.positives.sum())

    def gradient_shares(self) -> dict[str, float]:
        """Return which share of the pull at the shared features each loss has: of sum 1, by their gradients' norms."""
        shares = norm_shares([float(self.gradient_squares[name].sum()) for name in LOSSES])
        return dict(zip(LOSSES, shares, strict=True))

    def gradient_shares_by_level(self) -> dict[str, list[float]]:
        """Return the same for every level alone."""
        columns = [norm_shares([float(self.gradient_squares[name][i]) for name in LOSSES])
                   for i in range(len(self.levels))]  # fmt: skip
        return {name: [column[i] for column in columns] for i, name in enumerate(LOSSES)}

    def gradient_of_levels(self) -> list[float]:
        """Return which share of the squared norm of both gradients each level has, of sum 1 unless both are 0."""
        squares = sum(self.gradient_squares[name] for name in LOSSES)
        return (np.asarray(squares) / (np.sum(squares) or 1.0)).tolist()

    def hardest(self, group: str, gamma: float) -> float | None:
        """Return the share of the group's focal loss that its hardest 1 % of anchors carry."""
        return self.losses[group][gamma].hardest(HARDEST)

    def as_plain(self) -> dict[str, Any]:
        """Return every number that is drawn, for a JSON file."""
        normaliser = max(self.num_positives, 1)
        return {
            "num_images": self.num_images,
            "num_anchors": {name: int(counts.sum()) for name, counts in self.scores.items()},
            "not_finite": self.pull.not_finite,
            "focal": asdict(self.focal),
            "cumulative_loss": {
                name: {str(gamma): histogram.curve() for gamma, histogram in by_gamma.items()}
                for name, by_gamma in self.losses.items()
            },
            "hardest_1_percent": {
                "focal_loss": {
                    name: {str(gamma): self.hardest(name, gamma) for gamma in self.gammas} for name in self.losses
                },  # fmt: skip
                "own_gradient": self.pull.hardest(HARDEST),
            },
            "scores": {name: counts.tolist() for name, counts in self.scores.items()},
            "levels": list(self.levels),
            "class_names": list(self.class_names),
            "positives": self.positives.tolist(),
            "low_quality_positives": self.low_quality.tolist(),
            "losses_by_level": {name: (sums / normaliser).tolist() for name, sums in self.level_losses.items()},
            "gradient_shares": self.gradient_shares(),
            "gradient_shares_by_level": self.gradient_shares_by_level(),
            "gradient_of_levels": self.gradient_of_levels(),
            "confusion": {
                "score_threshold": self.confusion.score_threshold,
                "matrix": self.confusion.matrix.tolist(),
                "kinds": dict(self.confusion.kinds),
                "in_crowds": self.confusion.in_crowds,
                "most_confused": [
                    [self.class_names[true], self.class_names[predicted], number]
                    for true, predicted, number in self.confusion.most_confused()
                ],  # fmt: skip
            },
            "precision_recall": self.confusion.precision_recall(),
        }
