"""The TensorBoard files of a run: scalars, a page of charts that belong together, pictures, the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FLUSH_S = 10  # how far a browser lags behind; torch's own value is two minutes

# The page "Custom scalars": category, chart, names.
CHARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "losses, training against validation": {
        "loss": ("train/loss", "eval/loss"),
        "classification": ("train/loss_classification", "eval/loss_classification"),
        "box": ("train/loss_box", "eval/loss_box"),
    },
    "average precision": {
        "by IoU": ("eval/AP", "eval/AP50", "eval/AP75"),
        "by object size": ("eval/APs", "eval/APm", "eval/APl"),
        "recall by detections": ("eval/AR1", "eval/AR10", "eval/AR100"),
        "recall by object size": ("eval/ARs", "eval/ARm", "eval/ARl"),
    },
    "optimisation": {
        "learning rate": ("train/lr",),
        "gradient norm": ("train/grad_norm",),
        "images per second": ("train/images_per_second",),
    },
}


@dataclass(frozen=True)
class TallyHistogram:
    """A histogram of values that were counted as they came and are not kept."""

    edges: np.ndarray  # (N + 1,) ascending
    counts: np.ndarray  # (N,) values between two edges, of which there is at least one
    total: float  # sum of the values
    squares: float  # sum of their squares


@dataclass(frozen=True)
class Panels:
    """What is shown of a moment of a run beyond its scalars, by full names."""

    pictures: Mapping[str, np.ndarray]  # (H, W, 3) uint8 RGB
    histograms: Mapping[str, TallyHistogram]
    scalars: Mapping[str, float | None]


def open_writer(folder: Path, *, purge_step: int | None = None) -> SummaryWriter:
    """Return the writer of event files into ``folder``; it hides what was written from ``purge_step`` on before."""
    # Imported here: it takes longer than anything else that only the main rank needs.
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=_FLUSH_S)
    # Names are regular expressions there, matched from the start: without the end marked, `eval/AP` would draw
    # `eval/AP50` as well.
    writer.add_custom_scalars(
        {
            category: {chart: ["Multiline", [f"{name}$" for name in names]] for chart, names in charts.items()}
            for category, charts in CHARTS.items()
        }
    )
    return writer


def add_panels(writer: SummaryWriter, panels: Panels, step: int) -> None:
    """Add the pictures and histograms of ``panels``, not its scalars."""
    for name, picture in panels.pictures.items():
        writer.add_image(name, picture, step, dataformats="HWC")
    for name, histogram in panels.histograms.items():
        filled = np.flatnonzero(histogram.counts)
        writer.add_histogram_raw(
            name,
            min=float(histogram.edges[filled[0]]),
            max=float(histogram.edges[filled[-1] + 1]),
            num=int(histogram.counts.sum()),
            sum=histogram.total,
            sum_squares=histogram.squares,
            bucket_limits=histogram.edges[1:].tolist(),
            bucket_counts=histogram.counts.tolist(),
            global_step=step,
        )
    writer.flush()
