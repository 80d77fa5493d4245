"""Seconds and memory of functions beside each other, and the report of both with what they were measured on."""

from __future__ import annotations

import datetime
import gc
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from retina.files import write_json_atomically, write_text_atomically
from retina.training.manifest import describe_environment

Function = Callable[[], object]

# Tells glibc to give freed blocks back at once, so that the process is as large as what it holds.
# Source: mallopt(3), environment variables.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timing:
    """The seconds of repeated calls of one function."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:  # far above 1 says that something else had the machine
        return max(self.seconds) / min(self.seconds)


def alternate(contestants: Mapping[str, Function], *, repeats: int = 7, warmup: int = 2) -> dict[str, Timing]:
    """Return the timing of each contestant, called in turn A B A B ..., so that a slow minute hits all of them.

    Each call is timed on its own; on a GPU the clock stops when its work is done. ``warmup`` rounds are not counted.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmup + repeats):
        for name, function in contestants.items():
            _wait_for_device()
            start = time.perf_counter()
            result = function()
            _wait_for_device()
            elapsed = time.perf_counter() - start
            del result  # freeing it is nobody's time
            if turn >= warmup:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def peak_memory(prepare: Callable[..., Function], *arguments: Any) -> float | None:
    """Return how far the memory rises above rest, in MiB, during one call of what ``prepare(*arguments)`` returns.

    Measured in a fresh process of as many threads, which finds ``prepare`` by its name at the top of a module. Rest is
    after a first call, so model, gradients and state of the optimizer that stay do not count. On a GPU it is the
    device's memory. None where the system does not tell: no ``/proc``, or a kernel that does not reset the peak.
    """
    before = dict(os.environ)
    os.environ.update(_GIVE_BACK)  # for the process that is started
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
            return executor.submit(_rise, prepare, arguments, torch.get_num_threads()).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def report(
    subject: str,
    rows: Sequence[Mapping[str, object]],
    *,
    notes: Sequence[str] = (),
    folder: Path = Path("benchmarks"),
    save: bool | None = None,
) -> None:
    """Print ``rows`` as a Markdown table with notes and machine; save them as ``<folder>/<date>-<subject>.md, .json``.

    ``save`` None saves where the command line has ``--save``.
    """
    if not re.fullmatch(r"[\w-]+", subject):
        raise ValueError(f"subject must consist of letters, digits, - and _, got {subject!r}")
    machine = describe_machine()
    lines = [*(f"* {note}" for note in notes), *(f"* {name}: {value}" for name, value in machine.items())]
    text = f"# {subject}, {machine['date']}\n\n{markdown_table(rows)}\n\n" + "\n".join(lines) + "\n"
    print(text)
    if "--save" not in sys.argv if save is None else not save:
        return
    path = folder / f"{machine['date']}-{subject}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path.with_suffix(".md"), text)
    kept = {"subject": subject, "machine": machine, "notes": list(notes), "rows": [dict(row) for row in rows]}
    write_json_atomically(path.with_suffix(".json"), kept, indent=1)
    print(f"written to {path}.md and {path}.json")


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return ``rows`` as a padded table: numbers with four digits, None as ``-``; a row may lack columns of others."""
    columns = dict.fromkeys(name for row in rows for name in row)
    cells = [[name, *(_cell(row.get(name, "")) for row in rows)] for name in columns]
    widths = [max(map(len, column)) for column in cells]
    padded = [[cell.ljust(width) for cell in column] for column, width in zip(cells, widths, strict=True)]
    names, *lines = (f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))
    return "\n".join([names, f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines])


def describe_machine() -> dict[str, str]:
    """Return what a figure depends on: date, command, commit, processor, threads, versions."""
    environment = describe_environment()
    git, hardware, versions = environment["git"], environment["hardware"], environment["versions"]
    gpus = [gpu["name"] for gpu in hardware["gpus"]]
    return {
        "date": datetime.date.today().isoformat(),
        "command": f"python {environment['command']}",
        "commit": git["commit"] + (" with changes" if git["dirty"] else "") if git else "unknown",
        "machine": f"{hardware['cpu']}, {hardware['usable_cores']} cores, {torch.get_num_threads()} threads"
        + (f", {', '.join(gpus)}" if gpus else ""),
        "versions": f"torch {versions['torch']}, torchvision {versions['torchvision']}, python {versions['python']}",
    }


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def _wait_for_device() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _rise(prepare: Callable[..., Function], arguments: Sequence[Any], threads: int) -> float | None:
    torch.set_num_threads(threads)
    function = prepare(*arguments)
    function()
    gc.collect()
    _wait_for_device()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
        function()
        _wait_for_device()
        return (torch.cuda.max_memory_allocated() - rest) / 2**20
    try:
        before = _status_mib("VmRSS")
        _CLEAR.write_text("5")  # the peak is now what the process holds; proc_pid_clear_refs(5)
        function()
        return _status_mib("VmHWM") - before
    except (OSError, IndexError):
        return None


def _status_mib(name: str) -> float:
    text = _STATUS.read_text(encoding="ascii", errors="replace")
    return int(re.findall(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)[0]) / 1024
