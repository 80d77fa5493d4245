"""What the user sees while a run goes on: a progress bar on a terminal, plain lines in a pipe, and ``train.log``."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TextIO

from retina.drawing.tables import ProgressBar, progress

# The names on a line of training, in this order; others follow.
_TRAIN_NAMES = tuple(
    f"train/{name}" for name in ("loss", "loss_classification", "loss_box", "lr", "grad_norm", "images_per_second")
)
# The recalls and the parts of the validation loss are in metrics.jsonl and TensorBoard: twelve numbers are no line.
_EVAL_NAMES = tuple(f"eval/{name}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "loss"))

_NUM_TIMINGS = 30  # log entries over which the remaining time is judged, evaluations included


class Console:
    """Say things on ``stream`` and in ``log_file``; on a terminal keep a progress bar below them."""

    def __init__(self, log_file: Path, *, num_steps: int, stream: TextIO | None = None) -> None:
        """Args: ``stream`` None means stdout; ``num_steps`` of the whole run."""
        self.num_steps = num_steps
        self._stream: TextIO | None = stream or sys.stdout
        self._timings: deque[tuple[float, int]] = deque(maxlen=_NUM_TIMINGS)
        self._log = log_file.open("a", encoding="utf-8", buffering=1)
        self._bar: ProgressBar | None = None
        self._pace = ""
        if self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = progress("", num_steps, stream=self._stream, note=True)

    def say(self, text: str) -> None:
        """Show ``text`` and keep it in the log file."""
        self._log.write(log_entry(text))
        if self._bar is not None:
            # Neither markup nor wrapping: "[0.1, 0.2]" is no style, and a long path must stay in one piece.
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._print(text)

    def advance(self, step: int, epoch: float) -> None:
        """Move the progress bar to ``step``; in a pipe nothing happens."""
        if self._bar is not None:
            note = f"{step / self.num_steps:>4.0%} {self._pace}"
            self._bar.update(self._bar.task, completed=step, description=f"epoch {epoch:g}", note=note)
            self._bar.start()  # appears the first time

    def scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        """Show the numbers of a step: training ones in the bar (in a pipe on a line), evaluations on a line."""
        is_training = "train/loss" in values
        if is_training:
            self._timings.append((time.monotonic(), step))
        eta = self._eta(step) if is_training else ""
        line = _joined(f"step {step}/{self.num_steps}", f"epoch {epoch:g}", format_scalars(values), eta)
        if self._bar is None or not is_training:
            self.say(line)
        else:
            self._log.write(log_entry(line))
            others = dict(values)
            speed = others.pop("train/images_per_second", None)
            self._pace = _joined("" if speed is None else f"{speed:.1f} images/s", eta)
            # There are 80 columns or so: what every name begins with is left out here.
            self._bar.below.plain = format_scalars(others).replace("train/loss_", "").replace("train/", "")
        self.advance(step, epoch)

    def close(self) -> None:
        """Take the progress bar away and close the log file."""
        if self._bar is not None:
            self._bar.stop()
        self._log.close()

    def _print(self, text: str) -> None:
        if self._stream is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except BrokenPipeError:  # `| head` has seen enough: the run goes on, train.log has the rest
            self._stream = None

    def _eta(self, step: int) -> str:
        """Return the time that is left at the pace since the oldest timing; nothing before there are two."""
        (then, earlier_step), (now, _) = self._timings[0], self._timings[-1]
        if step <= earlier_step:
            return ""
        left = round((now - then) / (step - earlier_step) * max(self.num_steps - step, 0))
        return f"ETA {timedelta(seconds=left)}"


def log_entry(text: str) -> str:
    """Return ``text`` as it stands in ``train.log``, after the time of day."""
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n"


def format_scalars(values: Mapping[str, float | None]) -> str:
    """Return names and numbers of one log entry as one line."""
    if "train/loss" in values:
        names = [name for name in dict.fromkeys([*_TRAIN_NAMES, *values]) if name in values]
    else:
        names = [name for name in _EVAL_NAMES if name in values] or list(values)
    return _joined(*(f"{name} {_format_number(name, values[name])}" for name in names))


def _joined(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _format_number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.endswith("images_per_second"):
        return f"{value:.1f}"
    return f"{value:.4f}" if name.startswith("eval/") else f"{value:.4g}"
