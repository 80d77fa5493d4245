"""What the user sees while a run goes on: a progress bar on a terminal, plain lines in a pipe, and ``train.log``."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TextIO

import rich.console
from rich import progress
from rich.text import Text

# The names on a line of training, in this order; others follow.
_TRAIN_NAMES = tuple(
    f"train/{name}" for name in ("loss", "loss_classification", "loss_box", "lr", "grad_norm", "images_per_second")
)
# The recalls and the parts of the validation loss are in metrics.jsonl and TensorBoard: twelve numbers are no line.
_EVAL_NAMES = tuple(f"eval/{name}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "loss"))

_NUM_TIMINGS = 30  # log entries over which the remaining time is judged, evaluations included


class Console:
    """Say things on ``stream`` and in ``log_file``; on a terminal keep a progress bar below them."""

    def __init__(
        self,
        log_file: Path,
        *,
        num_steps: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: ``stream`` None means stdout; ``num_steps`` of the whole run."""
        self.num_steps = num_steps
        self._stream: TextIO | None = sys.stdout if stream is None else stream
        self._clock = clock
        self._timings: deque[tuple[float, int]] = deque(maxlen=_NUM_TIMINGS)
        self._log = log_file.open("a", encoding="utf-8", buffering=1)
        is_terminal = self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = Bar(self._stream, num_steps) if is_terminal else None

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
            self._bar.advance_to(step, epoch)

    def scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        """Show the numbers of a step: training ones in the bar (in a pipe on a line), evaluations on a line."""
        is_training = "train/loss" in values
        if is_training:
            self._timings.append((self._clock(), step))
        eta = self._eta(step) if is_training else None
        line = f"step {step}/{self.num_steps}  epoch {epoch:g}  {format_scalars(values)}"
        line = line if eta is None else f"{line}  ETA {eta}"
        if self._bar is None or not is_training:
            self.say(line)
        else:
            self._log.write(log_entry(line))
            self._bar.show(values, eta)
        self.advance(step, epoch)

    def close(self) -> None:
        """Take the progress bar away and close the log file."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
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

    def _eta(self, step: int) -> timedelta | None:
        """Return the time that is left at the pace since the oldest timing; None before there are two."""
        (then, earlier_step), (now, _) = self._timings[0], self._timings[-1]
        if step <= earlier_step:
            return None
        return timedelta(seconds=round((now - then) / (step - earlier_step) * max(self.num_steps - step, 0)))


class Bar(progress.Progress):
    """Rich's progress bar with a line of numbers below it."""

    def __init__(self, stream: TextIO | None, num_steps: int) -> None:
        self.numbers = Text("", no_wrap=True, overflow="ellipsis")
        super().__init__(
            progress.TextColumn("epoch {task.fields[epoch]:g}"),
            progress.BarColumn(bar_width=20),  # the whole fits into 80 columns
            progress.MofNCompleteColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[pace]}"),
            console=rich.console.Console(file=stream),
            refresh_per_second=4,
        )
        self.steps = self.add_task("", total=num_steps, epoch=0, pace="")

    def get_renderables(self) -> Iterable[rich.console.RenderableType]:
        """Yield the bar, then the numbers."""
        yield self.make_tasks_table(self.tasks)
        yield self.numbers

    def advance_to(self, step: int, epoch: float) -> None:
        """Move to ``step``; the first time, appear."""
        if not self.live.is_started:
            self.start()
        self.update(self.steps, completed=step, epoch=epoch)

    def show(self, values: Mapping[str, float | None], eta: timedelta | None) -> None:
        """Show the numbers of a step and the time that is left."""
        speed = values.get("train/images_per_second")
        parts = ["" if speed is None else f"{speed:.1f} images/s", "" if eta is None else f"ETA {eta}"]
        self.update(self.steps, pace="  ".join(filter(None, parts)))
        others = {name: value for name, value in values.items() if name != "train/images_per_second"}
        # There are 80 columns or so: what every name begins with is left out here.
        self.numbers.plain = format_scalars(others).replace("train/loss_", "").replace("train/", "")


def log_entry(text: str) -> str:
    """Return ``text`` as it stands in ``train.log``, after the time of day."""
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n"


def format_scalars(values: Mapping[str, float | None]) -> str:
    """Return names and numbers of one log entry as one line."""
    if "train/loss" in values:
        names = [*(name for name in _TRAIN_NAMES if name in values), *(n for n in values if n not in _TRAIN_NAMES)]
    else:
        names = [name for name in _EVAL_NAMES if name in values] or list(values)
    return "  ".join(f"{name} {_format_number(name, values[name])}" for name in names)


def _format_number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.endswith("images_per_second"):
        return f"{value:.1f}"
    return f"{value:.4f}" if name.startswith("eval/") else f"{value:.4g}"


def format_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as text: the first column to the left, the others to the right."""
    lines = [list(map(str, columns)), *([_format_cell(cell) for cell in row] for row in rows)]
    for line in lines:
        if len(line) != len(columns):
            raise ValueError(f"the table has {len(columns)} columns, a row has {len(line)}: {line}")
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    text = [_align(line, widths) for line in lines]
    return "\n".join([title, text[0], "-" * max(map(len, text)), *text[1:]])


def _format_cell(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _align(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
