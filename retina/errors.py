"""What is told to a user: what is wrong, why it matters, what to do; with the exit status of the command.

Raised anywhere in the library, printed once by the entry points (never with a traceback on the terminal).
"""

from __future__ import annotations

from collections.abc import Sequence


class RetinaError(Exception):
    """A mistake that the user can mend. Children differ in the exit status only."""

    exit_status = 2

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        """Args: ``what`` is wrong and where (file and id); ``why`` in one sentence; ``fix``: a command or a setting."""
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        lines = {"error: ": self.what, "why:   ": self.why, "fix:   ": self.fix}
        return "\n".join(f"{label}{text}" for label, text in lines.items() if text)


class ConfigError(RetinaError):
    """A mistake in the configuration, the command line or a path (exit status 2)."""


class DataError(RetinaError):
    """Images or annotations that cannot be used (exit status 2)."""


class CheckpointError(RetinaError):
    """A checkpoint that cannot be read, is damaged or does not fit (exit status 3)."""

    exit_status = 3


class DivergedError(RetinaError):
    """A loss or gradient that is not finite (exit status 4)."""

    exit_status = 4


class OutOfMemoryError(RetinaError):
    """The device ran out of memory (exit status 5)."""

    exit_status = 5


class Interrupted(RetinaError):
    """The run was stopped by a signal after everything was saved (128 + the signal's number: 130 or 143)."""

    def __init__(self, what: str, *, signal_number: int, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.exit_status = 128 + signal_number


NUM_SHOWN = 5  # cases that a message names


def first_five(cases: Sequence[object]) -> str:
    """Join the first five ``cases`` with commas and say how many there are in all when there are more."""
    return counted(cases[:NUM_SHOWN], len(cases))


def counted(first: Sequence[object], total: int) -> str:
    """Join ``first`` with commas and say how many there are in all when ``total`` is more."""
    shown = ", ".join(str(case) for case in first)
    return shown if total <= len(first) else f"{shown}, ... ({total} in all)"
