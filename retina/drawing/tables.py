"""Tables in plain text, the same on a terminal and in a file, and the progress bar of everything that takes a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


def format_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, num_left: int = 1, rule: bool = True
) -> str:
    """Return a table as text, below its ``title`` where there is one.

    Of cells None is a dash, a float has four digits. The first ``num_left`` columns are words and stand left, the
    others are numbers and stand right; with ``rule`` a line stands below the names.
    """
    lines = [list(map(str, columns)), *([_text(cell) for cell in row] for row in rows)]
    for line in lines:
        if len(line) != len(columns):
            raise ValueError(f"the table has {len(columns)} columns, a row has {len(line)}: {line}")
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(columns))]
    first, *others = [_aligned(line, widths, num_left) for line in lines]
    below = ["-" * max(map(cell_len, (first, *others)))] if rule else []
    return "\n".join([title] * bool(title) + [first, *below, *others])


def one_line(text: str) -> str:
    """Return a stranger's ``text``, such as a class name, without what would break a line or move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class ProgressBar(Progress):
    """One bar with a note at its right and a line below; transient: it leaves nothing behind."""

    def __init__(
        self, columns: Sequence[ProgressColumn], stream: TextIO, description: str, total: float | None, note: bool
    ) -> None:
        """Take ``columns`` beside the description and the bar; without a terminal nothing is drawn."""
        self.below = Text("", no_wrap=True, overflow="ellipsis")
        console = Console(file=stream)
        bar = BarColumn(bar_width=20 if note else 40)  # with a note the whole still fits into 80 columns
        columns = (TextColumn("{task.description}"), bar, *columns)
        super().__init__(*columns, console=console, transient=True, refresh_per_second=4)
        self.disable = not console.is_terminal
        self.task = self.add_task(description, total=total, note="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the line below it where there is one."""
        yield self.make_tasks_table(self.tasks)
        if self.below.plain:
            yield self.below

    def to(self, done: float) -> None:
        """Move the bar to ``done`` of its total."""
        self.update(self.task, completed=done)


def progress(
    description: str, total: float | None, *, stream: TextIO | None = None, in_bytes: bool = False, note: bool = False
) -> ProgressBar:
    """Return a bar to be used in a ``with``: ``bar.to(done)``, or ``bar.advance(bar.task)`` for one more.

    It is drawn on ``stream`` (None: stderr) where that is a terminal; a ``total`` of None is not known. ``in_bytes``
    shows sizes and speed; ``note`` leaves room for that of ``bar.update`` instead of the remaining time.
    """
    amount: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    end: ProgressColumn = TextColumn("{task.fields[note]}") if note else TimeRemainingColumn()
    return ProgressBar([*amount, end], stream or sys.stderr, description, total, note)


def _text(cell: object) -> str:
    return "-" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _aligned(line: Sequence[str], widths: Sequence[int], num_left: int) -> str:
    cells = []
    for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
        space = " " * (width - cell_len(cell))  # not str.ljust: letters of some scripts are two columns wide
        cells.append(cell + space if column < num_left else space + cell)
    return "  ".join(cells).rstrip()
