"""Mistakes of a command: collected, each with the setting that it concerns, and told in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retina.errors import ConfigError

HELP = "--help lists groups and settings, --cfg job shows the composed configuration"
_NUM_TOLD = 5


@dataclass(frozen=True)
class Mistake:
    """One thing to mend."""

    what: str  # names the setting and the value
    fix: str = ""
    why: str = ""
    path: str = ""  # of the setting

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}" if self.fix else self.what


def raise_mistakes(mistakes: Iterable[Mistake]) -> None:
    """Raise one ConfigError that tells all ``mistakes``; return where there are none."""
    told = list(dict.fromkeys(mistakes))
    if not told:
        return
    if len(told) == 1:
        raise ConfigError(told[0].what, why=told[0].why, fix=told[0].fix or HELP)
    lines = [f"  {mistake}" for mistake in told[:_NUM_TOLD]]
    if len(told) > _NUM_TOLD:
        lines.append(f"  ... ({len(told)} in all)")
    raise ConfigError(
        "\n".join([f"{len(told)} mistakes in the configuration:", *lines]),
        why="everything is checked before anything is started.",
        fix=HELP,
    )


def first_of_each_path(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Keep the first mistake of each setting: a wrong type is not told again as a wrong range."""
    kept: dict[str, Mistake] = {}
    for mistake in mistakes:
        kept.setdefault(mistake.path or mistake.what, mistake)
    return list(kept.values())


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a hint at the right spelling of a dotted path, a group or an option; empty where nothing is near."""
    leaf = _leaf(name)
    near = [path for path in known if _leaf(path) == leaf]
    if not near or len(near) > 5:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if not near:
        by_leaf = {_leaf(path): path for path in reversed(known)}
        near = [by_leaf[match] for match in difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.7)]
    return f"did you mean {' or '.join(near)}?" if near else ""


def _leaf(path: str) -> str:
    return path.rstrip("=").replace("/", ".").rpartition(".")[2]
