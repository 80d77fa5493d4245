"""One place for everything a run tells: the console, ``train.log``, ``metrics.jsonl`` and TensorBoard, in step."""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np

from retina.errors import RetinaError
from retina.files import write_text_atomically
from retina.training.console import Console
from retina.training.tensorboard import Panels, TensorBoardWriter


class RunLog:
    """Write what a run tells into ``run_dir`` and to the user; ranks other than the main one stay silent.

    Names of scalars are the same everywhere: ``train/loss``, ``eval/AP``, ...
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        num_steps: int,
        is_main: bool = True,
        resume_step: int | None = None,
        stream: TextIO | None = None,
    ) -> None:
        """Open the files of a run.

        Args:
            run_dir: of the run; it exists.
            num_steps: optimizer steps of the whole run, for the bar and the remaining time.
            resume_step: step of the checkpoint that the run goes on from. What was logged after it is removed, since
                those steps are made once more.
            stream: where the user reads; None means stdout.
        """
        self.run_dir, self.is_main = run_dir, is_main
        if not is_main:
            return
        metrics_file = run_dir / "metrics.jsonl"
        with _disk_errors_told(run_dir):
            if resume_step is not None:
                drop_steps_after(metrics_file, resume_step)
            self._metrics = metrics_file.open("a", encoding="utf-8", buffering=1)  # a line is on its way at once
            self._console = Console(run_dir / "train.log", num_steps=num_steps, stream=stream)
            self._tensorboard = TensorBoardWriter(
                run_dir / "tensorboard", purge_step=None if resume_step is None else resume_step + 1
            )
        self._warnings = _WarningsToConsole(self._console)
        logging.getLogger("retina").addHandler(self._warnings)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self.error(error)
        self.close()

    def scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        """Log numbers of optimizer step ``step``; not-a-number and infinity become null in ``metrics.jsonl``."""
        if not self.is_main:
            return
        values = {name: None if value is None else float(value) for name, value in values.items()}
        with _disk_errors_told(self.run_dir):
            self._keep_scalars(step, epoch, values)
            self._console.scalars(step, epoch, values)

    def panels(self, step: int, epoch: float, panels: Panels) -> None:
        """Show ``panels`` in TensorBoard; their scalars stand in ``metrics.jsonl`` too, but are too many to tell."""
        if self.is_main:
            with _disk_errors_told(self.run_dir):
                self._keep_scalars(step, epoch, panels.scalars)
                self._tensorboard.panels(panels, step)

    def _keep_scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        finite = {name: value if value is None or math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, "epoch": epoch, **finite}, allow_nan=False) + "\n")
        self._tensorboard.scalars(step, values)

    def advance(self, step: int, epoch: float) -> None:
        """Move the progress bar; cheap enough for every step."""
        if self.is_main:
            self._console.advance(step, epoch)

    def pictures(self, tag: str, images: Sequence[np.ndarray], step: int) -> None:
        """Show ``(H, W, 3)`` uint8 RGB images in TensorBoard."""
        if self.is_main:
            with _disk_errors_told(self.run_dir):
                self._tensorboard.pictures(tag, images, step)

    def configuration(self, yaml: str, step: int = 0) -> None:
        """Show the resolved configuration as text in TensorBoard."""
        if self.is_main:
            with _disk_errors_told(self.run_dir):
                self._tensorboard.text("configuration", yaml, step)

    def say(self, text: str) -> None:
        """Tell the user something; it is kept in ``train.log`` too."""
        if self.is_main:
            with _disk_errors_told(self.run_dir):
                self._console.say(text)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Tell the user numbers in columns."""
        if self.is_main:
            with _disk_errors_told(self.run_dir):
                self._console.table(title, columns, rows)

    def error(self, error: BaseException) -> None:
        """Keep the traceback in ``train.log``; telling the user is the command's part."""
        if self.is_main:
            with suppress(OSError):  # the disk may be full, and that be the error
                self._console.write_log("".join(traceback.format_exception(error)).rstrip())

    def close(self) -> None:
        """Close every file; the terminal is as it was before."""
        if not self.is_main:
            return
        logging.getLogger("retina").removeHandler(self._warnings)
        self._console.close()
        with _disk_errors_told(self.run_dir):
            self._metrics.close()
            self._tensorboard.close()


def drop_steps_after(metrics_file: Path, step: int) -> None:
    """Keep only the lines of ``metrics_file`` up to ``step``; a line that was cut short by a crash goes too."""
    if not metrics_file.exists():
        return
    lines = metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    write_text_atomically(metrics_file, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf


class _WarningsToConsole(logging.Handler):
    """Passes the library's own warnings on, so that they stand above the progress bar and in ``train.log``."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def _disk_errors_told(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetinaError(
            f"the run's log cannot be written: {error.filename or run_dir}: {error.strerror or error}",
            why="a full disk, or no permission to write there",
            fix="make room, then go on with resume=<run directory>",
        ) from error
