"""The text of ``--help``: the comments of the command's own file, its groups and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retina.config.compose import CONFIGS, compose_config, group_options

_FLAGS = """\
Flags
  --cfg job       print the composed configuration and stop
  -m, --multirun  run every combination of values: -m optimizer.lr=0.01,0.02 loss/box=l1,eiou
                  (with run_dir=runs/sweep each job gets its own directory: runs/sweep/0, runs/sweep/1, ...)
  --help          this text

Exit status
  0 done; 2 a mistake in the configuration, the data or a path; 3 an unusable checkpoint; 4 training diverged;
  5 out of memory; 130 Ctrl-C and 143 SIGTERM, both with everything saved."""


def help_text(primary: str, folders: Sequence[Path] = (CONFIGS,)) -> str:
    """Return what ``python <primary>.py --help`` prints."""
    comment, settings = split_comment((folders[0] / f"{primary}.yaml").read_text(encoding="utf-8"))
    chosen = compose_config(primary, folders=folders).choices
    groups = {group: names for group, names in group_options(folders).items() if group in chosen}
    parts = [comment]
    if groups:
        width = max(map(len, groups)) + 2
        lines = [f"  {group:{width}}{' '.join(names)}" for group, names in groups.items()]
        parts.append("\n".join(["Groups: group=option chooses a file of configs/<group>/", *lines]))
    parts.append(f"Settings: key.of.section=value\n{_indented(settings)}")
    if groups:
        parts.append("  Groups have settings of their own, such as optimizer.lr or dataset.root: --cfg job shows them.")
    return "\n\n".join([*parts, _FLAGS])


def split_comment(text: str) -> tuple[str, str]:
    """Return the leading comment of a configuration file without its signs, and its settings without the defaults."""
    lines = text.splitlines()
    length = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:length])
    kept = []
    in_defaults = False
    for line in lines[length:]:
        if line and not line[0].isspace():
            in_defaults = line.startswith("defaults:")
        if not in_defaults and "_target_:" not in line:
            kept.append(line)
    return comment.strip(), "\n".join(kept).strip("\n")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
