"""Ctrl-C and SIGTERM as a request: the step under way is finished and saved before the run ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

_MESSAGE = b"\nstopping after this step, then saving (Ctrl-C again stops at once, without saving)\n"
_STDERR = 2


class StopRequest:
    """Remember the first SIGINT or SIGTERM inside a ``with`` block; a Ctrl-C after that interrupts at once.

    ``signal_number`` is to be looked at when a step ends. Under torchrun the agent signals every rank, but not between
    the same two steps: let the ranks agree before they stop. It waits 30 seconds before it kills.
    """

    def __init__(self, *, announce: bool = True) -> None:
        """Args: ``announce`` on stderr that the request was heard (wanted of one rank only)."""
        self.announce = announce
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python delivers signals to the main thread only; elsewhere (a notebook's worker) nothing can be caught.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by C code
        self._previous.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal_number = number
        if self.announce:
            # Not print(): the signal may have come inside one, and buffered streams cannot be entered twice.
            os.write(_STDERR, _MESSAGE)
