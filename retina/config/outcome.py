"""How a command ends: every exception becomes a message without a traceback on stderr, and an exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import traceback
from types import TracebackType
from typing import Literal

from retina.errors import ConfigError, Interrupted, OutOfMemoryError, RetinaError

BUG_STATUS = 1
BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|insufficient shared memory", re.I)


class Outcome:
    """Runs blocks of code (``with outcome: ...``); none of their exceptions gets further than here.

    Attributes:
        exit_status: of the first block that failed, else 0.
        num_failures: how many blocks failed.
        interrupted: a signal ended a block, so that nothing else should be started.
    """

    def __init__(self, name: str) -> None:
        """Args: ``name`` of the command."""
        self.name = name
        self.exit_status = 0
        self.num_failures = 0
        self.interrupted = False

    def __enter__(self) -> Outcome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[True]:
        if error is not None:
            status = self._tell(error)
            self.exit_status = self.exit_status or status
            self.num_failures += status != 0
        return True

    def _tell(self, error: BaseException) -> int:
        """Print what ``error`` means to the user and return its exit status."""
        if isinstance(error, SystemExit):  # of argparse and Hydra, which have printed their reason
            return 2 if error.code == 1 else int(error.code or 0)
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE_STATUS
        told = as_told(error)
        self.interrupted = self.interrupted or isinstance(told, Interrupted)
        if told is None:
            # A run keeps the traceback in its log and says so.
            log = getattr(error, "log_file", None)
            told = RetinaError(
                f"{type(error).__name__}: {_last_line(error)}",
                why="this is a bug of retina: a mistake would have been explained.",
                fix=f"please report it with the traceback in {log or self._keep_in_temporary_file(error)}",
            )
            told.exit_status = BUG_STATUS
        print_error(told)
        return told.exit_status

    def _keep_in_temporary_file(self, error: BaseException) -> str:
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", prefix=f"retina-{self.name}-", suffix=".log", delete=False
            ) as file:
                file.write("".join(traceback.format_exception(error)))
                return file.name
        except OSError as reason:
            return f"no file ({reason})"


def as_told(error: BaseException) -> RetinaError | None:
    """Return the message for a mistake, an interruption or a lack of memory; None for a bug of ours."""
    if isinstance(error, RetinaError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped by Ctrl-C before anything was saved", signal_number=signal.SIGINT)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return OutOfMemoryError(
            f"out of memory: {_last_line(error)}",
            why="the images of one step and the network do not fit together.",
            fix="a smaller train.batch_size or image.short_side, a larger train.accumulate, or train.precision=bf16",
        )
    return None


def print_error(error: RetinaError) -> None:
    """Print ``error`` on stderr; under several ranks, what all ranks know is printed by the first only."""
    rank = os.environ.get("RANK", "0")
    if rank != "0" and isinstance(error, ConfigError | Interrupted):
        return
    prefix = "" if rank == "0" else f"[rank {rank}] "
    try:
        print(f"{prefix}{error}", file=sys.stderr, flush=True)
    except OSError:  # nobody is listening any more; the exit status still tells
        return


def flush_output() -> int:
    """Write out what is buffered for stdout; return an exit status where the reader has gone away (``| head``)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_STATUS
    return 0


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else "no message"
