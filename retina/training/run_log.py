"""One place for everything a run tells: the console, ``train.log``, ``metrics.jsonl`` and TensorBoard, in step."""

from __future__ import annotations

import functools
import json
import logging
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from retina import distributed
from retina.errors import RetinaError
from retina.files import write_text_atomically
from retina.training.console import Console, log_entry
from retina.training.tensorboard import Panels, add_panels, open_writer


def _by_main_rank(method: Callable[..., None]) -> Callable[..., None]:
    """Do ``method`` on the main rank alone, and tell the user of a full disk."""

    @functools.wraps(method)
    def wrapper(log: RunLog, *positional: Any, **named: Any) -> None:
        if not distributed.is_main():
            return
        try:
            method(log, *positional, **named)
        except OSError as error:
            raise RetinaError(
                f"the run's log cannot be written: {error.filename or log.run_dir}: {error.strerror or error}",
                why="a full disk, or no permission to write there",
                fix="make room, then resume with resume=<run directory>",
            ) from error

    return wrapper


class RunLog:
    """Write what a run tells into ``run_dir`` and to the user; ranks other than the main one stay silent.

    Names of scalars are the same everywhere: ``train/loss``, ``eval/AP``, ... An exception that leaves the block
    (``with RunLog(...) as log``) has its traceback in ``train.log`` and the path of that file as ``log_file``.
    """

    def __init__(
        self, run_dir: Path, *, num_steps: int, resume_step: int | None = None, stream: TextIO | None = None
    ) -> None:
        """Open the files of a run of ``num_steps`` optimizer steps in all.

        What was logged after ``resume_step``, that of a checkpoint that is resumed, is removed: those steps are made
        once more. ``stream`` is where the user reads; None means stdout.
        """
        self.run_dir, self.log_file = run_dir, run_dir / "train.log"
        self._open(num_steps, resume_step, stream)

    @_by_main_rank
    def _open(self, num_steps: int, resume_step: int | None, stream: TextIO | None) -> None:
        metrics_file = self.run_dir / "metrics.jsonl"
        if resume_step is not None:
            drop_steps_after(metrics_file, resume_step)
        self._metrics = metrics_file.open("a", encoding="utf-8", buffering=1)  # a line is on its way at once
        self._console = Console(self.log_file, num_steps=num_steps, stream=stream)
        purge_step = None if resume_step is None else resume_step + 1
        self._tensorboard = open_writer(self.run_dir / "tensorboard", purge_step=purge_step)
        self._warnings = _WarningsToConsole(self._console)
        logging.getLogger("retina").addHandler(self._warnings)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            # Of every rank; the disk may be full, and that be the error.
            with suppress(OSError):
                with self.log_file.open("a", encoding="utf-8") as file:
                    file.write(log_entry("".join(traceback.format_exception(error)).rstrip()))
                error.log_file = self.log_file  # type: ignore[attr-defined]
        self.close()

    @_by_main_rank
    def scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        """Log numbers of optimizer step ``step``; not-a-number and infinity become null in ``metrics.jsonl``."""
        values = {name: None if value is None else float(value) for name, value in values.items()}
        self._keep_scalars(step, epoch, values)
        self._console.scalars(step, epoch, values)

    @_by_main_rank
    def panels(self, step: int, epoch: float, panels: Panels) -> None:
        """Show ``panels`` in TensorBoard; their scalars stand in ``metrics.jsonl`` too, but are too many to tell."""
        self._keep_scalars(step, epoch, panels.scalars)
        add_panels(self._tensorboard, panels, step)

    def _keep_scalars(self, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        finite = {name: value if value is None or math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, "epoch": epoch, **finite}, allow_nan=False) + "\n")
        for name, value in values.items():
            if value is not None:  # COCO's -1 has no point
                self._tensorboard.add_scalar(name, value, step)

    def advance(self, step: int, epoch: float) -> None:
        """Move the progress bar; cheap enough for every step."""
        if distributed.is_main():
            self._console.advance(step, epoch)

    @_by_main_rank
    def pictures(self, tag: str, images: Sequence[np.ndarray], step: int) -> None:
        """Show ``(H, W, 3)`` uint8 RGB images of any sizes in TensorBoard as ``<tag>/1``, ``<tag>/2``, ..."""
        for number, image in enumerate(images, start=1):
            self._tensorboard.add_image(f"{tag}/{number}", image, step, dataformats="HWC")
        self._tensorboard.flush()

    @_by_main_rank
    def configuration(self, yaml: str, step: int = 0) -> None:
        """Show the resolved configuration in TensorBoard, in a fenced block: it would be read as markdown."""
        self._tensorboard.add_text("configuration", f"```yaml\n{yaml.rstrip()}\n```", step)
        self._tensorboard.flush()

    @_by_main_rank
    def say(self, text: str) -> None:
        """Tell the user something; it is kept in ``train.log`` too."""
        self._console.say(text)

    @_by_main_rank
    def close(self) -> None:
        """Close every file; the terminal is as it was before."""
        logging.getLogger("retina").removeHandler(self._warnings)
        self._console.close()
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
