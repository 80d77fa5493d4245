"""What the lab shows during training: pictures, histograms and numbers of a few fixed images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from retina.lab.findings import GROUPS, HARDEST, LOSSES, Findings
from retina.training.tensorboard import Panels, TallyHistogram


@dataclass(frozen=True)
class LossPanels:
    """Makes the panels of a model; what it is called with is left as it was, see :class:`LossLab`."""

    look: Callable[[nn.Module], Findings]

    def __call__(self, model: nn.Module) -> Panels:
        """Return pictures, histograms and scalars, all of whose names begin with ``loss_lab/``."""
        # Imported here: a run that asks for no panel never loads matplotlib.
        from retina.drawing.figures import to_pixels
        from retina.lab.pictures import finding_pictures

        findings = self.look(model)
        pictures = {f"loss_lab/{each.name}": to_pixels(each.draw()) for each in finding_pictures(findings.as_plain())}
        return Panels(pictures, tally_histograms(findings), panel_scalars(findings))


def panel_scalars(findings: Findings) -> dict[str, float | None]:
    """Return the numbers that are worth a line over the run; None where there is nothing to count."""
    gamma = findings.focal.gamma
    by_level = findings.positives.sum(axis=1)
    total = findings.num_positives
    scalars: dict[str, float | None] = {
        "loss_lab/hardest_1_percent": findings.hardest("all", gamma),
        "loss_lab/hardest_1_percent_negatives": findings.hardest("negative", gamma),
        "loss_lab/hardest_1_percent_gradient": findings.pull.hardest(HARDEST),
        "loss_lab/low_quality_positives": float(findings.low_quality.sum()) / total if total else None,
    }
    scalars |= {f"loss_lab/gradient_share_{name}": share for name, share in findings.gradient_shares().items()}
    scalars |= {f"loss_lab/positives_{name.lstrip('/')}": float(count)
                for name, count in zip(findings.levels, by_level, strict=True)}  # fmt: skip
    normaliser = max(total, 1)
    for loss in LOSSES:
        for name, value in zip(findings.levels, findings.level_losses[loss], strict=True):
            scalars[f"loss_lab/{loss}_{name.lstrip('/')}"] = float(value) / normaliser
    return scalars


def tally_histograms(findings: Findings) -> dict[str, TallyHistogram]:
    """Return the histograms of p_t of positive, background and ignored anchors; empty groups are left out."""
    histograms = {}
    for group in GROUPS:
        counts = findings.scores[group]
        if counts.any():
            first, second = findings.score_sums[group]
            edges = np.linspace(0.0, 1.0, len(counts) + 1)
            histograms[f"loss_lab/p_t_{group}"] = TallyHistogram(edges, counts, first, second)
    return histograms
