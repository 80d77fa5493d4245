"""The file of fitted anchors, and the sentence that says whether they are worth having."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retina.anchors.fit import LEAST_GAIN, Gain
from retina.config.compose import CONFIGS
from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError
from retina.files import write_text_atomically

NAME = "fitted"  # of the option in the folder of the report

Rows = Sequence[tuple[str, Mapping[str, Any]]]  # "train before" and its figures

_ENOUGH = 0.99  # a higher overlap of boxes that are positive anyway has not been seen to train better
_MEANING = {"iou": "mean IoU with the best anchor", "share": "share of boxes that reach the threshold"}


@dataclass(frozen=True)
class Verdict:
    """Whether boxes that were not fitted to say that the fitted anchors are better."""

    keep: bool  # the present anchors
    gains: Mapping[str, tuple[float, float | None]]  # by goal, with the standard error; None: one image cannot tell
    text: str

    @classmethod
    def of(cls, gains: Mapping[str, Gain], *, goal: str, judge: str, reached: float, changed: bool) -> Verdict:
        """Judge the gains by goal on ``judge``, of whose boxes the present anchors reach the share ``reached``.

        Without a change there is nothing to judge, and where nearly all boxes are reached nothing to mend.
        """
        own = gains[goal]
        measured = f"{_MEANING[goal]} {own.mean:+.4f} +- {own.standard_error:.4f} on {judge}"
        worse = [other for other, found in gains.items() if found.mean <= -LEAST_GAIN]
        keep = True
        if not changed:
            text = "The present anchors fit: no better ones were found, keep them"
        elif not own.pays:
            text = f"The present anchors fit: keep them ({measured}: nothing, or chance)"
        elif reached >= _ENOUGH:
            text = f"The present anchors fit: keep them, they reach {100 * reached:.1f} % of the boxes ({measured})"
        elif worse:
            text = f"Keep the present anchors: {measured}, but {_MEANING[worse[0]]} {gains[worse[0]].mean:+.4f}"
        else:
            keep, text = False, f"The fitted anchors fit better: {measured}"
        errors = {name: found.standard_error for name, found in gains.items()}
        known = {name: error if math.isfinite(error) else None for name, error in errors.items()}
        return cls(keep, {name: (found.mean, known[name]) for name, found in gains.items()}, text)

    def __str__(self) -> str:
        return self.text


def refuse_existing(save_as: str | None) -> None:
    """Raise ConfigError where ``configs/anchors/<save_as>.yaml`` stands already; files there are never overwritten."""
    if save_as is not None and (path := _option_file(save_as)).exists():
        raise ConfigError(
            f"save_as={save_as} would overwrite an option of anchors: {path}",
            why="a run that names it would change.",
            fix="choose another name, or remove the file first",
        )


def write_anchors(
    settings: Any, sections: Mapping[str, Any], anchors: AnchorGenerator, verdict: Verdict, rows: Rows
) -> None:
    """Write the fitted anchors as an option of the group into ``out``, with ``save_as`` also into ``configs/``."""
    path = Path(settings.out) / "anchors" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    choice = f"--config-dir {Path(settings.out)} anchors={NAME}"
    write_text_atomically(path, anchors_text(settings, sections, anchors, verdict, rows, choice))
    print(f"anchors written to {path}\nto use them: python train.py <the same settings> {choice}")
    if settings.save_as is not None:
        refuse_existing(settings.save_as)
        path, choice = _option_file(settings.save_as), f"anchors={settings.save_as}"
        with path.open("x", encoding="utf-8") as file:
            file.write(anchors_text(settings, sections, anchors, verdict, rows, choice))
        print(f"and to {path}: python train.py {choice}")


def anchors_text(
    settings: Any, sections: Mapping[str, Any], anchors: AnchorGenerator, verdict: Verdict, rows: Rows, choice: str
) -> str:
    """Return the file: a comment with the data, the figures and both commands, then the whole section."""
    fitted = {
        "base_scale": anchors.base_scale,
        "scales": list(anchors.scales),
        "aspect_ratios": list(anchors.aspect_ratios),
    }
    node, name, image = {**sections["anchors"], **fitted}, sections["dataset"]["name"], settings.image
    lines = [
        f"python train.py dataset={name} {choice}",
        f"Anchors fitted to {name} train, sides {image.short_side}/{image.long_side} px.",
        f"{verdict}.",
        "Expect them to suit this data at this size only: fit again where either changes. Made by",
        f"  python tools/anchors.py {shlex.join(sys.argv[1:])}",
    ]
    for kind, figures in rows:
        row, least = figures["all"], node.get("positive_iou", 0.5)
        reached = f"{100 * row['reached']:.2f} % of {row['boxes']} boxes reach {least}"
        lines.append(f"{kind}: mean best IoU {row['mean_iou']:.4f}, {reached}, {row['lost']} lost")
    comment = "\n".join(f"# {' '.join(line.splitlines())}" for line in lines)
    return f"{comment}\n{yaml.safe_dump(node, sort_keys=False, default_flow_style=None, width=120)}"


def _option_file(name: str) -> Path:
    return CONFIGS / "anchors" / f"{name}.yaml"
